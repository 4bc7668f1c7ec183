import { createServer } from 'node:net';
import { AutogitError } from '../../protocol/errors.ts';
import { defaultPort } from '../../protocol/names.ts';
import { multiaddrOf, readAddress } from './addresses.ts';

/** Tries to listen for a moment. */
export function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/**
 * The multiaddrs to listen on. What the user named is taken as it is. Otherwise all of IPv4, on the port of last time
 * (so that others find a restarted agent where it was), else 7117, else the next free one. Throws `port-taken`.
 */
export async function chooseListen(listen: readonly string[], remembered: number | null): Promise<string[]> {
  if (listen.length > 0) {
    const wanted = listen.map((text) => readAddress(text, '--listen'));
    for (const at of wanted)
      if (at.port > 0 && !(await isFree(at.host, at.port)))
        throw new AutogitError('port-taken', `port ${at.port} on ${at.host} cannot be listened on`);
    return wanted.map(multiaddrOf);
  }
  const candidates = [...(remembered ? [remembered] : []), ...Array.from({ length: 50 }, (_, i) => defaultPort + i)];
  for (const port of candidates) if (await isFree('0.0.0.0', port)) return [multiaddrOf({ host: '0.0.0.0', port })];
  throw new AutogitError('port-taken', `no port from ${defaultPort} to ${defaultPort + 49} is free`);
}
