import { createServer, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { answerRedirect } from './gate-words.ts';

/** Whoever sends no whole request may not stay. */
const limitMs = 10_000;
/** By the port to which they lead. */
const servers = new Map<number, Server>();

/** Whoever asks by http is told of the same address by https, at that port. */
export function leadToTls(client: Socket, port: number): void {
  const late = setTimeout(() => client.destroy(), limitMs);
  client.once('close', () => clearTimeout(late));
  const server =
    servers.get(port) ??
    createServer((request, response) => answerRedirect(request, response, port)).on('clientError', (_, socket) =>
      socket.destroy(),
    );
  servers.set(port, server);
  server.emit('connection', client);
  client.resume();
}
