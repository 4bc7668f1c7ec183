import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => void;

/** A server on loopback that answers so once a request's body is there, and its address. */
export async function answering(answer: Answer, port = 0): Promise<{ server: Server; url: string }> {
  const server = createServer((request, response) => {
    void text(request).then(
      (body) => answer(request, response, body),
      () => undefined,
    );
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** With the connections that are kept. */
export async function ended(server: Server | null): Promise<void> {
  server?.closeAllConnections();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(null)));
}
