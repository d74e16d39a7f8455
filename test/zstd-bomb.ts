/** A zstd frame of blocks that each repeat one byte 128 kB long, and that does not say its length (RFC 8878, 3.1.1.2): four bytes each. */
export function zstdBomb(blocks: number): Buffer {
  const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58]); // A window of 2 MB.
  const body = Buffer.alloc(4 * blocks);
  for (let i = 0; i < blocks; i++) {
    body.writeUIntLE(((128 << 10) << 3) | (1 << 1) | (i === blocks - 1 ? 1 : 0), 4 * i, 3);
    body[4 * i + 3] = 0x61;
  }
  return Buffer.concat([head, body]);
}
