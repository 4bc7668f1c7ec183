import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import { lineTimings, tlsOptions } from './line-options.ts';
import { listenForMembers } from './listen-for-members.ts';

export interface CopyDoor {
  port: number;
  id: string;
  /** base64 */
  key: string;
}

/**
 * A door for one connection of another member's, which knows the key by the mesh's own authenticated line. It is used once, and is
 * shut when nobody came. `signal`: nobody shall come any more, and who came goes.
 */
export async function openOnceDoor(
  serve: (socket: TLSSocket) => Promise<void>,
  signal: AbortSignal,
): Promise<CopyDoor> {
  const [id, key] = [randomBytes(8).toString('hex'), randomBytes(32)];
  let isUsed = false;
  const server = createServer({
    ...tlsOptions,
    handshakeTimeout: lineTimings.answerMs,
    pskCallback: (_socket, identity) => (identity === id && !isUsed ? key : null),
  });
  const shut = (): void => {
    signal.removeEventListener('abort', shut);
    server.close();
  };
  const timer = setTimeout(shut, lineTimings.doorMs);
  signal.addEventListener('abort', shut);
  // One comes; a stranger who speaks to it meanwhile holds no more of this machine than that.
  server.maxConnections = 16;
  server.on('tlsClientError', () => {});
  server.on('secureConnection', (socket) => {
    if (isUsed || signal.aborted) return socket.destroy();
    isUsed = true;
    clearTimeout(timer);
    shut();
    const end = (): void => void socket.destroy();
    signal.addEventListener('abort', end);
    serve(socket)
      .catch(() => {})
      .finally(() => {
        signal.removeEventListener('abort', end);
        socket.destroy();
      });
  });
  await listenForMembers(server);
  // Out of descriptors, for one: who was to come finds nobody, and asks for another door.
  server.on('error', shut);
  return { port: (server.address() as AddressInfo).port, id, key: key.toString('base64') };
}
