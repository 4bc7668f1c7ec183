import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { pagePort } from '../../protocol/names.ts';
import type { Attention } from '../../protocol/status.ts';
import type { Clock } from '../clock.ts';
import type { AgentApi, PageApi } from '../local-api/agent-api.ts';
import type { PageAccessRow, PageLink } from '../local-api/socket-protocol.ts';
import type { Log } from '../log.ts';
import { isLoopback } from '../loopback.ts';
import { DoorConnections } from '../page/door-connections.ts';
import type { PageDoor } from '../page/page-door.ts';
import { pageLimits } from '../page/page-limits.ts';
import type { AddedPath, Role } from '../page/page-types.ts';
import type { Network } from '../ports.ts';
import { type Progress, withFix } from '../progress-lines.ts';
import type { JoinOptions } from '../settings/settings.ts';
import type { PageSettings } from '../settings/settings-page.ts';
import { metricsPaths } from './metrics-paths.ts';

interface OwnPageOptions {
  /** Null: no page is served. */
  settings: PageSettings | null;
  /** A port that something else of this agent will listen on. */
  taken: number | null;
  home: string;
  name: string;
  api: AgentApi;
  wallMs(): number;
  /** By which other machines reach this one. */
  addresses(): string[];
  log: Pick<Log, 'info' | 'warn' | 'error'>;
}

/** What to type where there is none. */
const turnsOn =
  'without `dashboard: off` in its autogit.yml, and its agent anew: autogit-node join --dashboard 127.0.0.1:7118';
const elsewhere = 'name another place for it: autogit-node join --dashboard HOST:PORT';

/** Beside the bundle, and in a checkout where the bundler puts it. */
const assets = (): string => {
  const here = fileURLToPath(new URL('.', import.meta.url));
  return here.endsWith('/dist/') ? join(here, 'page') : join(here, '../../dist/page');
};

/**
 * This agent's page for people: a listening socket, and with the first who comes the code behind it. Nobody is let in without a link or
 * a key, also not from this machine: a job that runs here could come, too.
 */
export class OwnPage implements PageApi {
  readonly #options: OwnPageOptions;
  readonly #added: AddedPath[] = [];
  readonly #connections = new DoorConnections(pageLimits);
  #server: Server | null = null;
  #door: Promise<PageDoor> | null = null;
  #problem: string | null = null;

  constructor(options: OwnPageOptions) {
    this.#options = options;
  }

  /** Serves another path at the same door; before the first request, or after it. */
  add(path: AddedPath): void {
    this.#added.push(path);
  }

  /** Listens, when the network does: before, it would take the port that the network has found free. What is returned ends it. A page that cannot be served is said, and is no reason to end an agent. */
  async open(): Promise<() => Promise<void>> {
    if (this.#options.settings !== null) await this.#openAt(this.#options.settings);
    return () => this.close();
  }

  async #openAt(settings: PageSettings): Promise<void> {
    const { taken, log } = this.#options;
    for (let port = settings.port; port < settings.port + pagePort.tries && port <= 65_535; port++) {
      if (port === taken) continue;
      const problem = await this.#listen(settings.host, port);
      if (problem === null) {
        const instead = port === settings.port ? '' : `, as port ${settings.port} is taken`;
        return log.info(
          `the page is served at ${settings.host}:${port}${instead}; a link to it is printed by: autogit-node dashboard`,
        );
      }
      this.#problem = `${settings.host}:${port}: ${problem.message}`;
      if (problem.code !== 'EADDRINUSE') break;
    }
    log.warn(`the page is not served: ${this.#problem}; another place for it: --dashboard HOST:PORT`);
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    (await this.#door?.catch(() => null))?.close();
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  /** For the person at this agent's terminal: where it is, or that it is off, or why it cannot be served. */
  say(lines: Pick<Progress, 'ok' | 'warn'>): void {
    const url = this.url();
    if (url !== null) lines.ok('page', `${url}; a link that opens it: autogit-node dashboard`);
    else if (this.#options.settings === null) lines.ok('page', withFix('off: this machine serves none', turnsOn));
    else lines.warn('page', withFix(`not served: ${this.#problem ?? 'it does not listen yet'}`, elsewhere));
  }

  /** Where it shall be served and is not. */
  attention(): Attention[] {
    if (this.#problem === null || this.#server !== null) return [];
    const sentence = `this machine's page is not served: ${this.#problem}`;
    return [{ code: 'page-off', severity: 'warn', sentence, fix: 'autogit-node join --dashboard 127.0.0.1:7118' }];
  }

  /** Without what lets anybody in; null: none is served. */
  url(): string | null {
    return this.#urls()[0] ?? null;
  }

  /** Where others reach it, by another address than this machine's own; null: nobody does. */
  outside(): string | null {
    return this.#urls().find((url) => !isLoopback(new URL(url).hostname)) ?? null;
  }

  async pageLink(role: Role, forMs: number | null): Promise<PageLink> {
    const urls = this.#servedAt();
    const lasts = forMs ?? pageLimits.sessionUsualMs;
    const { code, goodUntil } = (await this.#loaded()).access.link(role, lasts);
    const beyond = !isLoopback(this.#options.settings?.host ?? '');
    return { urls: urls.map((url) => `${url}/enter?code=${code}`), role, goodUntil, forMs: lasts, beyond };
  }

  async pageKey(role: Role, name: string | null): Promise<{ key: string; name: string; url: string }> {
    const [url] = this.#servedAt();
    return { ...(await this.#loaded()).access.makeKey(role, name), url: url as string };
  }

  async pageKeys(): Promise<PageAccessRow[]> {
    return (await this.#loaded()).access.rows();
  }

  async pageKeyRemove(name: string): Promise<string> {
    (await this.#loaded()).access.remove(name);
    return `${name} is let in no more`;
  }

  #servedAt(): string[] {
    const urls = this.#urls();
    if (urls.length > 0) return urls;
    if (this.#options.settings === null)
      throw new AutogitError('unsupported', 'this agent serves no page: dashboard is off', {
        hint: turnsOn,
      });
    throw new AutogitError('port-taken', `this agent serves no page: ${this.#problem ?? 'it does not listen yet'}`, {
      hint: elsewhere,
    });
  }

  /** Of a page that listens on all addresses this machine's own comes first, as it is the one that nobody else can listen to. */
  #urls(): string[] {
    const address = this.#server?.address() ?? null;
    const host = this.#options.settings?.host;
    if (address === null || typeof address === 'string' || host === undefined) return [];
    const isAll = ['0.0.0.0', '::'].includes(address.address);
    const hosts = isAll ? ['127.0.0.1', ...this.#options.addresses()] : [host];
    return hosts.map((one) => `http://${one.includes(':') ? `[${one}]` : one}:${address.port}`);
  }

  /** Null: it listens. */
  #listen(host: string, port: number): Promise<NodeJS.ErrnoException | null> {
    const server = createServer({
      maxHeaderSize: pageLimits.headerBytes,
      headersTimeout: pageLimits.headMs,
      requestTimeout: pageLimits.requestMs,
      keepAliveTimeout: pageLimits.restMs,
      connectionsCheckingInterval: 5_000,
    });
    server.maxConnections = pageLimits.connections;
    server.on('connection', (socket: Socket) => this.#connections.entered(socket));
    server.on('request', (request, response) => void this.#answer(request, response));
    server.on('clientError', (_error, socket) => {
      // A browser keeps a spare connection at hand: an answer to nothing it would take for that to what it asks next.
      const isSpare = (socket as Socket).bytesRead === 0;
      if (socket.writable && !isSpare)
        socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
      else socket.destroy();
    });
    return new Promise((resolve) => {
      server.once('error', (error) => resolve(error));
      server.listen(port, host, () => {
        this.#server = server;
        // Such as too many open files: the next connection may find room.
        server.on('error', () => {});
        resolve(null);
      });
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await (await this.#loaded()).answer(request, response);
    } catch (error) {
      this.#options.log.error(`the page's door: ${sentenceOf(error)}`);
      response.destroy();
    }
  }

  #loaded(): Promise<PageDoor> {
    this.#door ??= this.#load();
    // What could not be loaded now (its file cannot be read) may be by the next who comes.
    this.#door.catch(() => {
      this.#door = null;
    });
    return this.#door;
  }

  async #load(): Promise<PageDoor> {
    const { PageDoor } = await import('../page/page-door.ts');
    const { settings, ...here } = this.#options;
    return new PageDoor({
      ...here,
      names: settings?.names ?? [],
      assets: assets(),
      added: this.#added,
      connections: this.#connections,
    });
  }
}

export const ownPage = (
  { dashboard, webhook, home, name }: Pick<JoinOptions, 'dashboard' | 'webhook' | 'home' | 'name'>,
  { api, clock, network, log }: Pick<OwnPageOptions, 'api' | 'log'> & { clock: Clock; network: Network },
): OwnPage => {
  const page = new OwnPage({
    settings: dashboard,
    taken: webhook?.port ?? null,
    ...{ home, name, api, log },
    wallMs: () => clock.wallMs(),
    addresses: () => network.addresses().flatMap((address) => /^\/ip[46]\/([^/]+)\//.exec(address)?.[1] ?? []),
  });
  for (const path of metricsPaths(() => api.metrics)) page.add(path);
  return page;
};
