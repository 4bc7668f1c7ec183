import type { Socket } from 'node:net';

const noBytes = Buffer.alloc(0);

/**
 * Calls back if the client has ended and not reset. Of a reset that comes behind a short read libuv makes an end, as it reads no
 * further; the error waits in the socket, and the next write gets it: of no bytes, or what waits to be written. Once GitLab's
 * answer has ended nothing may be written here any more, and nothing hangs on it.
 */
export function whenInOrder(client: Socket, then: () => void): void {
  if (client.writableEnded) then();
  else if (client.writableLength === 0) client.write(noBytes, (error) => error ?? then());
  else setImmediate(() => client.destroyed || then());
}
