// The proxy does what it says: a test that relies on it must not pass because nothing went wrong.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { FaultyProxy, type ProxyFault } from "./faulty-proxy.js";

let server: Server;
/** The bodies that arrived whole. */
let arrived: string[] = [];
const proxies: FaultyProxy[] = [];
const start = async (
  ...options: Parameters<typeof FaultyProxy.start> extends [string, ...infer R] ? R : never
) => {
  const proxy = await FaultyProxy.start(
    `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ...options,
  );
  proxies.push(proxy);
  return proxy;
};

beforeAll(async () => {
  server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece);
    const body = Buffer.concat(pieces).toString();
    arrived.push(body);
    response.setHeader("x-host", request.headers.host ?? "");
    response.end(`got ${body}`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  arrived = [];
  for (const proxy of proxies.splice(0)) await proxy.close();
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const send = async (proxy: FaultyProxy, body: string, signal?: AbortSignal) => {
  const reply = await fetch(`${proxy.url}/x`, { method: "PUT", body, signal: signal ?? null });
  return { status: reply.status, host: reply.headers.get("x-host"), text: await reply.text() };
};

it("passes on what it gets, with the Host that the client signed", async () => {
  const proxy = await start();
  const { host } = new URL(proxy.url);
  expect(await send(proxy, "body")).toEqual({ status: 200, host, text: "got body" });
  expect(proxy.requests).toBe(1);
  expect(proxy.happened.size).toBe(0);
});

describe.each<[ProxyFault, string[], string | number]>([
  ["busy", [], 503],
  ["limited", [], 429],
  ["droppedBefore", [], "fails"],
  ["droppedAfter", ["body"], "fails"],
  ["stalled", [], "fails"],
  ["slow", ["body"], 200],
  ["torn", ["body"], "fails"],
  ["damaged", ["cody"], 200],
])("%s", (fault, bodies, outcome) => {
  it("happens to the request it is meant for, and to no other", async () => {
    const proxy = await start({ stallMs: 50, slowMs: 20 });
    proxy.failNext(fault, ({ method, bodyBytes }) => method === "PUT" && bodyBytes === 4);
    expect((await send(proxy, "other")).text).toBe("got other");
    arrived = [];
    const found = await send(proxy, "body").then(
      ({ status }) => status,
      () => "fails",
    );
    expect(found).toBe(outcome);
    expect(arrived).toEqual(bodies);
    expect([...proxy.happened]).toEqual([[fault, 1]]);
    expect((await send(proxy, "body")).text).toBe("got body");
  });
});

it("damages the content of what comes with its metadata, by chance too, and no command", async () => {
  const proxy = await start({ rates: { damaged: 1 } });
  const post = async (type: string, body: string) => {
    const reply = await fetch(`${proxy.url}/x`, { method: "POST", body, headers: { "content-type": type } });
    return reply.text();
  };
  const parts = ["--b\r\ncontent-type: application/json\r\n\r\n{}", "--b\r\ncontent-type: x\r\n\r\nbod"];
  const body = (last: string) => `${parts.join("\r\n")}${last}\r\n--b--\r\n`;
  expect(await post("multipart/related; boundary=b", body("z"))).toBe(`got ${body("{")}`);
  expect(await post("application/xml", "<x/>")).toBe("got <x/>");
  expect([...proxy.happened]).toEqual([["damaged", 1]]);
});

it("draws the same faults from the same seed, at their rates", async () => {
  const outcomes = async (seed: string) => {
    const proxy = await start({ seed, rates: { busy: 0.2, limited: 0.1 } });
    const found: number[] = [];
    for (let i = 0; i < 200; i++) found.push((await send(proxy, "x")).status);
    proxy.calm();
    for (let i = 0; i < 20; i++) expect((await send(proxy, "x")).status).toBe(200);
    return found;
  };
  const first = await outcomes("a");
  expect(await outcomes("a")).toEqual(first);
  expect(await outcomes("b")).not.toEqual(first);
  const count = (status: number) => first.filter((found) => found === status).length;
  expect(count(503)).toBeGreaterThan(20);
  expect(count(503)).toBeLessThan(65);
  expect(count(429)).toBeGreaterThan(5);
  expect(count(429)).toBeLessThan(40);
});
