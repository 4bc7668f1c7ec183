import { mkdtempSync, rmSync } from 'node:fs';
import { type IncomingHttpHeaders, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OwnPage } from '../../node/agent/own-page.ts';
import type { Role } from '../../node/page/page-types.ts';
import { SmallAgent } from './small-agent.ts';

export interface Said {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

interface Asking {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  /** Another address of this machine than the one that the page listens on first. */
  host?: string;
}

/** One request by hand: whatever a stranger would send. */
export function ask(port: number, path: string, asking: Asking = {}): Promise<Said> {
  const { method = 'GET', headers = {}, body, host = '127.0.0.1' } = asking;
  return new Promise((resolve, reject) => {
    const sent = request({ host, port, path, method, headers, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part) => {
        text += part;
      });
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text }));
      answer.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

export interface In {
  /** `/s/ID` */
  place: string;
  cookie: string;
}

/** The page's door before a small agent, on a port of its own. */
export class PageRig {
  readonly api = new SmallAgent();
  readonly home = mkdtempSync(join(tmpdir(), 'autogit-page-'));
  readonly said: string[] = [];
  wallMs = Date.now();
  page!: OwnPage;

  async open({ port = 0, host = '127.0.0.1', taken = null as number | null, isOff = false } = {}) {
    const keep = (sentence: string): void => void this.said.push(sentence);
    const page = new OwnPage({
      settings: isOff ? null : { host, port, names: ['mesh.example.org'] },
      taken,
      home: this.home,
      name: 'kang',
      api: this.api,
      wallMs: () => this.wallMs,
      addresses: () => ['10.0.0.5'],
      log: { info: keep, warn: keep, error: keep },
    });
    await page.open();
    this.page = page;
    this.api.page = page;
    return this;
  }

  get port(): number {
    return Number(new URL(this.page.url() as string).port);
  }

  ask(path: string, asking: Asking = {}): Promise<Said> {
    return ask(this.port, path, asking);
  }

  /** A browser that opened a link. */
  async enter(role: Role = 'owner', forMs: number | null = null): Promise<In> {
    const [url = ''] = (await this.page.pageLink(role, forMs)).urls;
    const { pathname, search } = new URL(url);
    const { headers } = await this.ask(`${pathname}${search}`);
    return {
      place: String(headers.location).replace(/\/$/, ''),
      cookie: String(headers['set-cookie']?.[0]).split(';')[0] as string,
    };
  }

  get({ place, cookie }: In, path: string, headers: Record<string, string> = {}): Promise<Said> {
    return this.ask(`${place}${path}`, { headers: { cookie, ...headers } });
  }

  act({ place, cookie }: In, name: string, body: unknown, headers: Record<string, string> = {}): Promise<Said> {
    return this.ask(`${place}/api/acts/${name}`, {
      method: 'POST',
      headers: {
        cookie,
        'x-autogit': 'page',
        origin: `http://127.0.0.1:${this.port}`,
        'content-type': 'application/json',
        ...headers,
      },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  }

  async close(): Promise<void> {
    await this.page?.close();
    rmSync(this.home, { recursive: true, force: true });
  }
}
