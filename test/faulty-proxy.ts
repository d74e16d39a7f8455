// A proxy that fails on purpose, in front of any object store's server: answers 503 and 429, drops connections before and after the
// effect, stalls, is slow, cuts replies short, damages bodies. Faults are drawn from a seed, or asked for one by one. (With several
// clients the order of requests is the machine's: the same seed then gives the same faults to other requests.)

import {
  type ClientRequest,
  createServer,
  Agent as HttpAgent,
  type IncomingMessage,
  request as requestHttp,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { Transform } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { type Random32, randomBelow, randomNumbers } from "../src/base/random.js";

/** What can go wrong with a request. */
export type ProxyFault =
  /** 503 (S3's SlowDown), and no effect. */
  | "busy"
  /** 429, and no effect. */
  | "limited"
  /** The connection is closed in the middle of the body, and no effect. */
  | "droppedBefore"
  /** The effect takes place, and the connection is closed instead of a reply. */
  | "droppedAfter"
  /** Nothing is answered until the client, or the proxy after `stallMs`, closes the connection. No effect. */
  | "stalled"
  /** The request arrives up to `slowMs` later: the client may be gone by then, and the effect takes place all the same. */
  | "slow"
  /** The effect takes place, and the reply is cut short. */
  | "torn"
  /** A bit of the content is turned over. */
  | "damaged";

/** Each fault's probability a request. */
export type FaultRates = Readonly<Partial<Record<ProxyFault, number>>>;

/** About one request in eight fails. */
export const USUAL_RATES: FaultRates = {
  busy: 0.03,
  limited: 0.01,
  droppedBefore: 0.02,
  droppedAfter: 0.02,
  stalled: 0.005,
  slow: 0.02,
  torn: 0.01,
  damaged: 0.005,
};

/** What a request is, for those who choose. */
export interface SeenRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** Content-Length; 0 where there is none. */
  readonly bodyBytes: number;
  /** Content-Type; empty where there is none. */
  readonly type: string;
}

/** How the proxy fails. */
export interface ProxyOptions {
  readonly rates?: FaultRates;
  /** Default: a new one. It is printed. */
  readonly seed?: string;
  /** Default 5 s. */
  readonly stallMs?: number;
  /** Default 500 ms. */
  readonly slowMs?: number;
  /** Which requests may fail. Default all. */
  readonly concerns?: (request: SeenRequest) => boolean;
  /** Told of every request. */
  readonly onRequest?: (request: SeenRequest) => void;
}

/** A proxy that runs, on a port of its own of 127.0.0.1. */
export class FaultyProxy {
  /** Where clients find the store. */
  readonly url: string;
  readonly seed: string;
  /** Faults that happened, by kind. */
  readonly happened = new Map<ProxyFault, number>();
  /** Requests that came in. */
  requests = 0;
  readonly #target: URL;
  readonly #options: ProxyOptions;
  readonly #random: Random32;
  readonly #server: ReturnType<typeof createServer>;
  readonly #agent = new HttpAgent({ keepAlive: true });
  #ordered: {
    readonly fault: ProxyFault;
    readonly concerns: (request: SeenRequest) => boolean;
    readonly then: () => void;
    times: number;
  }[] = [];
  #isCalm = false;

  private constructor(
    target: string,
    seed: string,
    server: ReturnType<typeof createServer>,
    options: ProxyOptions,
  ) {
    this.#target = new URL(target);
    this.#options = options;
    this.#server = server;
    this.seed = seed;
    this.#random = randomNumbers(`faulty proxy ${seed}`);
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      this.#handle(request, response).catch(() => request.socket.destroy());
    });
    // Clients that are killed are no news.
    server.on("clientError", (_, socket) => socket.destroy());
  }

  /** Starts a proxy before a server. @param target `http://host:port`. */
  static async start(target: string, options: ProxyOptions = {}): Promise<FaultyProxy> {
    const seed = options.seed ?? String(Math.floor(Math.random() * 2 ** 32));
    const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0 });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    process.stderr.write(`faulty proxy before ${target}: seed ${seed}\n`);
    return new FaultyProxy(target, seed, server, options);
  }

  /** The next request of that kind, or the next few, fail so. @param then called when one does. */
  failNext(
    fault: ProxyFault,
    concerns: (request: SeenRequest) => boolean = () => true,
    times = 1,
    then: () => void = () => {},
  ): void {
    this.#ordered.push({ fault, concerns, times, then });
  }

  /** From now on nothing fails, neither by chance nor by order; with false, things go wrong by chance again. */
  calm(isCalm = true): void {
    this.#isCalm = isCalm;
    this.#ordered = [];
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#agent.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests += 1;
    const seen = {
      method: request.method ?? "GET",
      path: request.url ?? "/",
      bodyBytes: Number(request.headers["content-length"] ?? 0),
      type: request.headers["content-type"] ?? "",
    };
    this.#options.onRequest?.(seen);
    const fault = this.#choose(seen);
    if (fault !== undefined) this.happened.set(fault, (this.happened.get(fault) ?? 0) + 1);
    const { stallMs = 5000, slowMs = 500 } = this.#options;
    switch (fault) {
      case "busy":
      case "limited":
        request.resume();
        response.writeHead(fault === "busy" ? 503 : 429, { "content-length": 0 }).end();
        return;
      case "droppedBefore":
        request.once("data", () => request.socket.destroy());
        request.once("end", () => request.socket.destroy());
        return;
      case "stalled":
        request.pause();
        await sleep(stallMs, undefined, { ref: false });
        request.socket.destroy();
        return;
      case "slow":
        await sleep(randomBelow(slowMs, this.#random) + 1);
        this.#forward(request, response);
        return;
      case "damaged":
        this.#forward(request, response, fault, contentPlace(seen));
        return;
      default:
        this.#forward(request, response, fault);
    }
  }

  #choose(request: SeenRequest): ProxyFault | undefined {
    const order = this.#ordered.find(({ times, concerns }) => times > 0 && concerns(request));
    if (order) {
      order.times -= 1;
      order.then();
      return order.fault;
    }
    const { rates = {}, concerns } = this.#options;
    // Drawn for every request, so that calm and choice do not move the others.
    let left = this.#random() / 2 ** 32;
    if (this.#isCalm || concerns?.(request) === false) return undefined;
    for (const [fault, rate] of Object.entries(rates) as [ProxyFault, number][]) {
      left -= rate;
      // By chance only content is damaged: of a damaged command nobody could say more than that it is none.
      if (left < 0) return fault === "damaged" && contentPlace(request) === undefined ? undefined : fault;
    }
    return undefined;
  }

  #forward(request: IncomingMessage, response: ServerResponse, fault?: ProxyFault, damagedAt = 0): void {
    const upstream: ClientRequest = requestHttp({
      host: this.#target.hostname,
      port: this.#target.port,
      method: request.method,
      path: request.url,
      // As they are: signatures cover Host.
      headers: request.headers,
      agent: this.#agent,
    });
    const drop = () => request.socket.destroy();
    upstream.on("error", drop);
    upstream.on("response", (reply) => this.#answer(reply, response, fault, drop));
    // A client that is gone in the middle of its body: so is the request.
    request.on("close", () => {
      if (!request.complete) upstream.destroy();
    });
    if (fault === "damaged") request.pipe(turnOverABit(damagedAt)).pipe(upstream);
    else request.pipe(upstream);
  }

  #answer(
    reply: IncomingMessage,
    response: ServerResponse,
    fault: ProxyFault | undefined,
    drop: () => void,
  ): void {
    reply.on("error", drop);
    if (fault === "droppedAfter") {
      reply.resume().on("end", drop);
      return;
    }
    if (fault === "torn") {
      const pieces: Buffer[] = [];
      reply.on("data", (piece: Buffer) => pieces.push(piece));
      reply.on("end", () => {
        const whole = Buffer.concat(pieces);
        // One byte more is promised than ever comes.
        const promised = { ...reply.headers, "content-length": String(whole.length + 1) };
        delete (promised as Record<string, unknown>)["transfer-encoding"];
        response.writeHead(reply.statusCode ?? 502, promised);
        response.write(whole.subarray(0, whole.length >> 1));
        setImmediate(drop);
      });
      return;
    }
    response.writeHead(reply.statusCode ?? 502, reply.statusMessage, reply.rawHeaders);
    reply.pipe(response);
  }
}

/** A place of the body where content is: the first byte of a PUT's, the last of what comes with its metadata (Google's multipart/related). */
function contentPlace({ method, type, bodyBytes }: SeenRequest): number | undefined {
  if (method === "PUT") return 0;
  const boundary = /^multipart\/related; boundary=(\S+)$/.exec(type)?.[1];
  return boundary === undefined ? undefined : bodyBytes - `\r\n--${boundary}--\r\n`.length - 1;
}

/** Damages a byte of what passes. */
function turnOverABit(at: number): Transform {
  let passed = 0;
  return new Transform({
    transform(piece: Buffer, _, done) {
      const copy = Buffer.from(piece);
      const place = at - passed;
      if (place >= 0 && place < copy.length) copy[place] = (copy[place] ?? 0) ^ 1;
      passed += copy.length;
      done(null, copy);
    },
  });
}
