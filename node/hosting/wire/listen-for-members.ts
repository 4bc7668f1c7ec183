import type { Server } from 'node:net';
import { copyPorts } from '../../../protocol/names.ts';

/** By a port that a person can let through a firewall; by any, where all of these are taken. Rejects where there is none at all. */
export async function listenForMembers(server: Server, host?: string): Promise<void> {
  const ports = Array.from({ length: copyPorts.last - copyPorts.first + 1 }, (_, at) => copyPorts.first + at);
  for (const port of [...ports, 0]) if (await listensAt(server, port, host)) return;
}

function listensAt(server: Server, port: number, host?: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const taken = (error: Error): void => {
      server.off('listening', opened);
      if (port === 0) reject(error);
      else resolve(false);
    };
    const opened = (): void => {
      server.off('error', taken);
      resolve(true);
    };
    server.once('error', taken).once('listening', opened).listen(port, host);
  });
}
