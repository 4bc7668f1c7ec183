import { Agent, request } from 'node:http';
import { socketVersion, versionHeader } from '../../node/local-api/socket-queries.ts';
import { places } from '../../node/store/home.ts';
import { ChangeOutcome } from '../../protocol/changes.ts';

/** agent.sock over connections that stay open, as a program uses it that asks often; the CLI's client opens one a call. */
export class KeptSocket {
  readonly #path: string;
  /** Of the settings that were seen last. */
  #tag: string | null = null;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 128 });

  constructor(home: string) {
    this.#path = places(home).socket;
  }

  async set(value: number): Promise<ChangeOutcome> {
    const change = { kind: 'set', key: 'graceMs', value };
    return ChangeOutcome.parse(await this.#ask('POST', '/v1/change', { change }));
  }

  /** Resolves when this agent shows a `graceMs` of at least `value`; false after `limitMs`. */
  async shows(value: number, limitMs: number): Promise<boolean> {
    const end = performance.now() + limitMs;
    for (let left = limitMs; left > 0; left = end - performance.now()) {
      const query = this.#tag === null ? '' : `?wait=${Math.ceil(left)}&tag=${this.#tag}`;
      const { graceMs } = (await this.#ask('GET', `/v1/settings${query}`)) as { graceMs: number };
      if (graceMs >= value) return true;
    }
    return false;
  }

  close(): void {
    this.#agent.destroy();
  }

  #ask(method: 'GET' | 'POST', path: string, body?: object): Promise<unknown> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      [versionHeader]: socketVersion,
      ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    };
    return new Promise((resolve, reject) => {
      const sent = request({ socketPath: this.#path, agent: this.#agent, method, path, headers }, (answer) => {
        let got = '';
        answer.setEncoding('utf8');
        answer.on('data', (data) => {
          got += data;
        });
        answer.on('error', reject);
        answer.on('end', () => {
          this.#tag = answer.headers.etag?.replaceAll('"', '') ?? this.#tag;
          if (answer.statusCode === 200) resolve(JSON.parse(got));
          else reject(new Error(`${path}: ${answer.statusCode} ${got.slice(0, 200)}`));
        });
      });
      sent.on('error', reject);
      sent.end(text);
    });
  }
}
