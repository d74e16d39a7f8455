// A server that plays a Python index: pages as JSON (PEP 691) or HTML (PEP 503), and wheels. It can promise wrong hashes,
// break connections, and fail. And a writer of wheels, as far as a test needs one.

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { deflateRawSync } from "node:zlib";
import { crc32 } from "@node-rs/crc32";

/** What goes wrong. Each number is used up, one a request. */
export interface IndexTrouble {
  /** Downloads whose connection breaks after half the bytes. */
  breaks: number;
  /** Requests that get status 500. */
  failures: number;
  /** Wheels that are sent with another last byte. */
  wrongBytes: number;
}

/** The fake index. */
export class IndexServer {
  readonly trouble: IndexTrouble = { breaks: 0, failures: 0, wrongBytes: 0 };
  readonly requests: string[] = [];
  /** Whether pages are JSON where the client takes it. */
  speaksJson = true;
  readonly #wheels = new Map<string, Buffer>();
  readonly #server = createServer((request, response) => this.#answer(request, response));

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/simple`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Publishes a wheel under its file name. */
  publish(name: string, wheel: Buffer): void {
    this.#wheels.set(name, wheel);
  }

  #answer(request: IncomingMessage, response: ServerResponse): unknown {
    const path = decodeURIComponent(request.url ?? "");
    this.requests.push(`${path}${request.headers.authorization ? ` ${request.headers.authorization}` : ""}`);
    if (this.trouble.failures > 0) {
      this.trouble.failures -= 1;
      return response.writeHead(500).end();
    }
    const wheel = this.#wheels.get(/^\/files\/(.+)$/.exec(path)?.[1] ?? "");
    if (wheel) return this.#send(response, wheel);
    const project = /^\/simple\/([^/]+)\/$/.exec(path)?.[1];
    const files = [...this.#wheels].filter(([name]) => name.split("-")[0]?.replaceAll("_", "-") === project);
    if (project === undefined || files.length === 0) return response.writeHead(404).end();
    const listed = files.map(([filename, bytes]) => ({
      filename,
      url: `../../files/${filename}`,
      hashes: { sha256: createHash("sha256").update(bytes).digest("hex") },
    }));
    if (this.speaksJson && request.headers.accept?.includes("json")) {
      const type = "application/vnd.pypi.simple.v1+json";
      const page = { meta: { "api-version": "1.0" }, name: project, files: listed };
      return response.writeHead(200, { "content-type": type }).end(JSON.stringify(page));
    }
    const link = ({ filename, url, hashes }: (typeof listed)[number]) =>
      `<a href="${url}#sha256=${hashes.sha256}">${filename}</a><br/>`;
    const html = `<!DOCTYPE html><html><body>${listed.map(link).join("\n")}</body></html>`;
    response.writeHead(200, { "content-type": "text/html" }).end(html);
  }

  #send(response: ServerResponse, wheel: Buffer): void {
    const body = Buffer.from(wheel);
    if (this.trouble.wrongBytes > 0) {
      this.trouble.wrongBytes -= 1;
      body[body.length - 1] = (body.at(-1) ?? 0) ^ 1;
    }
    response.writeHead(200, { "content-length": body.length, "content-type": "application/octet-stream" });
    if (this.trouble.breaks === 0) {
      response.end(body);
      return;
    }
    this.trouble.breaks -= 1;
    response.write(body.subarray(0, body.length / 2), () => setTimeout(() => response.destroy(), 20));
  }
}

/** A zip archive. `method` 8 deflates, 0 stores; `damage` changes what is said of the last file. */
export function makeWheel(
  files: Readonly<Record<string, Buffer>>,
  method: 0 | 8 = 8,
  damage: { readonly size?: number; readonly crc?: number } = {},
): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, bytes] of Object.entries(files)) {
    const packed = method === 8 ? deflateRawSync(bytes) : bytes;
    const facts = Buffer.alloc(26);
    facts.writeUInt16LE(20, 0);
    facts.writeUInt16LE(method, 4);
    facts.writeUInt32LE(damage.crc ?? crc32(bytes), 10);
    facts.writeUInt32LE(packed.length, 14);
    facts.writeUInt32LE(damage.size ?? bytes.length, 18);
    facts.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04", "latin1"), facts, Buffer.from(name)]);
    const place = Buffer.alloc(14);
    place.writeUInt32LE(offset, 10);
    const made = Buffer.from("PK\x01\x02\x14\x00", "latin1");
    directory.push(Buffer.concat([made, facts, place, Buffer.from(name)]));
    parts.push(local, packed);
    offset += local.length + packed.length;
  }
  const entries = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(entries.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, entries, end]);
}
