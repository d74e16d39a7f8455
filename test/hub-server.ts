// A server that behaves like the Hub as far as its clients can see: the API's revision and tree (in pages), resolve with
// its headers, large files by a redirect to another host, Range, tokens, and refusals with their codes. It can break
// connections, fall silent, and send wrong bytes.

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A repository: files by path; large ones are served as LFS. */
export interface FakeRepo {
  readonly commit: string;
  readonly files: Readonly<Record<string, Buffer>>;
  readonly access?: "public" | "gated" | "private";
}

/** What goes wrong. Each is used up. */
export interface Trouble {
  /** Connections for large files that break after so many bytes: once the client has them ({@link HubServer.received}). */
  breaks: number[];
  /** Connections for large files that say nothing after so many bytes. */
  silences: number[];
  /** Requests to the API that get this status. */
  statuses: number[];
  /** Large files whose first byte is wrong. */
  wrongBytes: number;
}

const LARGE = 4096;
const TOKEN = "hf_right";
const PAGE = 3;

/** The fake Hub and its file host. */
export class HubServer {
  readonly repos = new Map<string, FakeRepo>();
  readonly trouble: Trouble = { breaks: [], silences: [], statuses: [], wrongBytes: 0 };
  /** How many bytes of the file under way the client has, by its own word. */
  received = 0;
  /** `METHOD path [range]` of every request, in order. */
  readonly requests: string[] = [];
  /** Authorization headers that the file host got: a token must never reach it. */
  readonly leaked: string[] = [];
  readonly #hub = createServer((request, response) => this.#answerHub(request, response));
  readonly #files = createServer((request, response) => this.#answerFile(request, response));

  async start(): Promise<this> {
    await Promise.all([listen(this.#hub), listen(this.#files)]);
    return this;
  }

  get endpoint(): string {
    return urlOf(this.#hub);
  }

  async stop(): Promise<void> {
    for (const server of [this.#hub, this.#files]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  #answerHub(request: IncomingMessage, response: ServerResponse): unknown {
    const url = new URL(request.url ?? "/", this.endpoint);
    const path = decodeURIComponent(url.pathname);
    this.requests.push(
      `${request.method} ${path}${request.headers.range ? ` ${request.headers.range}` : ""}`,
    );
    const api = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(path);
    const file = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const status = api ? this.trouble.statuses.shift() : undefined;
    if (status !== undefined) return response.writeHead(status).end();
    const [kind, name = "", revision = ""] = api
      ? [api[1], api[2], api[4]]
      : [file?.[1] ? "datasets" : "models", file?.[2], file?.[3]];
    const repo = this.repos.get(`${kind}/${name}`);
    const hasToken = request.headers.authorization === `Bearer ${TOKEN}`;
    if (!repo || (repo.access === "private" && !hasToken)) return refuse(response, 401, "RepoNotFound");
    if (revision !== "main" && revision !== repo.commit) return refuse(response, 404, "RevisionNotFound");
    if (api)
      return api[3] === "tree"
        ? this.#tree(repo, url, response)
        : json(response, { id: name, sha: repo.commit });
    if (repo.access === "gated" && !hasToken) return refuse(response, 403, "GatedRepo");
    const bytes = repo.files[file?.[4] ?? ""];
    if (!bytes) return refuse(response, 404, "EntryNotFound");
    const etag = etagOf(bytes);
    const headers = { "x-repo-commit": repo.commit, "accept-ranges": "bytes" };
    if (bytes.length < LARGE) {
      response.writeHead(200, { ...headers, etag: `"${etag}"`, "content-length": bytes.length });
      return response.end(request.method === "HEAD" ? undefined : bytes);
    }
    const linked = { "x-linked-etag": `"${etag}"`, "x-linked-size": bytes.length };
    const location = `${urlOf(this.#files)}/${kind}/${name}/${file?.[4]}`;
    response.writeHead(302, { ...headers, ...linked, location }).end();
  }

  #tree(repo: FakeRepo, url: URL, response: ServerResponse): void {
    const all = Object.entries(repo.files).map(([path, bytes]) => {
      const oid = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
      const lfs = { oid: etagOf(bytes), size: bytes.length, pointerSize: 130 };
      return { type: "file", path, size: bytes.length, oid, ...(bytes.length < LARGE ? {} : { lfs }) };
    });
    const from = Number(url.searchParams.get("cursor") ?? 0);
    url.searchParams.set("cursor", String(from + PAGE));
    if (from + PAGE < all.length) response.setHeader("link", `<${url.href}>; rel="next"`);
    json(response, all.slice(from, from + PAGE));
  }

  #answerFile(request: IncomingMessage, response: ServerResponse): unknown {
    const [, kind, org, name, ...path] = decodeURIComponent(request.url ?? "").split("/");
    if (request.headers.authorization) this.leaked.push(request.headers.authorization);
    const bytes = this.repos.get(`${kind}/${org}/${name}`)?.files[path.join("/")];
    if (!bytes) return response.writeHead(404).end();
    const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (from >= bytes.length) return response.writeHead(416).end();
    const body = Buffer.from(bytes.subarray(from));
    if (this.trouble.wrongBytes > 0) {
      this.trouble.wrongBytes -= 1;
      body[0] = (body[0] ?? 0) ^ 1;
    }
    const range = { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
    this.requests.push(`FILE ${path.join("/")} from ${from}`);
    response.writeHead(request.headers.range ? 206 : 200, {
      "content-length": body.length,
      ...(request.headers.range ? range : {}),
    });
    const silent = this.trouble.silences.shift();
    if (silent !== undefined) return response.write(body.subarray(0, silent));
    const broken = this.trouble.breaks.shift();
    if (broken === undefined) return response.end(request.method === "HEAD" ? undefined : body);
    const timer = setInterval(() => this.received >= from + broken && response.destroy(), 5);
    response.once("close", () => clearInterval(timer));
    return response.write(body.subarray(0, broken));
  }
}

/** What the cache calls the blob: SHA-256 of a large file, git's hash of a small one. */
export function etagOf(bytes: Buffer): string {
  if (bytes.length >= LARGE) return createHash("sha256").update(bytes).digest("hex");
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { "x-error-code": code, "x-error-message": "as the Hub says it" }).end();
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}

function listen(server: Server): Promise<void> {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
