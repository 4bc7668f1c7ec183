import { createServer, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { answerRedirect } from './gate-words.ts';

/** Whoever sends no whole request may not stay. */
const limitMs = 10_000;
let server: Server | null = null;

/** Whoever asks by http where TLS is spoken is told of the same address by https. */
export function leadToTls(client: Socket): void {
  const late = setTimeout(() => client.destroy(), limitMs);
  client.once('close', () => clearTimeout(late));
  server ??= createServer((request, response) => answerRedirect(request, response, request.socket.localPort ?? 443)).on(
    'clientError',
    (_, socket) => socket.destroy(),
  );
  server.emit('connection', client);
  client.resume();
}
