import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** What the proxy does with one answer of GitLab's: pass it on, cut the connection, keep it for ever, or say another. */
export type Spoiling = 'pass' | 'cut' | 'hold' | { status: number; type: string; body: string };
export interface Passing {
  method: string;
  path: string;
  /** GitLab's own; 0 while the request has not gone to it. */
  status: number;
}

/** A proxy before GitLab that loses, holds or replaces answers, as proxies, cables and power cuts do. */
export class SpoilingProxy {
  /** Asked twice: before GitLab (only `{status}` counts then), and with its answer. */
  spoil: (passing: Passing) => Spoiling = () => 'pass';
  readonly #server = http.createServer((request, response) => this.#pass(request, response));
  #to = new URL('http://127.0.0.1');

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async start(to: string): Promise<void> {
    this.#to = new URL(to);
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #pass(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { method = 'GET', url: path = '/', headers } = request;
    const refused = this.spoil({ method, path, status: 0 });
    if (typeof refused === 'object') {
      request.resume();
      return void request.on('end', () => say(response, refused));
    }
    const { hostname, port } = this.#to;
    const onward = http.request({ hostname, port, method, path, headers, agent: false }, (answer) => {
      const spoiling = this.spoil({ method, path, status: answer.statusCode ?? 0 });
      if (spoiling === 'pass') {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        return void answer.pipe(response);
      }
      answer.resume();
      if (spoiling === 'cut') request.destroy();
      else if (spoiling !== 'hold') say(response, spoiling);
    });
    onward.on('error', () => response.destroy());
    request.on('error', () => onward.destroy());
    request.pipe(onward);
  }
}

function say(response: http.ServerResponse, { status, type, body }: Exclude<Spoiling, string>): void {
  response.writeHead(status, { 'Content-Type': type });
  response.end(body);
}
