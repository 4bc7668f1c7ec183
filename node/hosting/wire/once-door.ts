import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { copyPorts } from '../../../protocol/names.ts';
import { lineTimings, tlsOptions } from './line-options.ts';

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
  await listen(server);
  return { port: (server.address() as AddressInfo).port, id, key: key.toString('base64') };
}

/** By a port that a person can let through a firewall; by any, where all of these are taken. */
async function listen(server: Server): Promise<void> {
  const ports = Array.from({ length: copyPorts.last - copyPorts.first + 1 }, (_, at) => copyPorts.first + at);
  for (const port of [...ports, 0]) {
    const isOpen = await new Promise<boolean>((resolve, reject) => {
      const taken = (error: Error): void => {
        server.off('listening', opened);
        if (port === 0) reject(error);
        else resolve(false);
      };
      const opened = (): void => {
        server.off('error', taken);
        resolve(true);
      };
      server.once('error', taken).once('listening', opened).listen(port);
    });
    if (isOpen) return;
  }
}
