import type { Writable } from 'node:stream';

/** Resolves when the stream has taken all of the bytes: they are the caller's again, who may fill their memory with the next ones. */
export const writeAll = (stream: Writable, bytes: Uint8Array): Promise<void> =>
  new Promise((taken, failed) => {
    stream.write(bytes, (error) => (error ? failed(error) : taken()));
  });
