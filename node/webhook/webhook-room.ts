import { readFileSync, statSync } from 'node:fs';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { leavingOf } from '../../scheduler/disconnecting.ts';
import { rankedVoters } from '../../scheduler/raft/quorum.ts';
import type { Log } from '../log.ts';
import { hostPortOf, shownAddress } from '../network/addresses.ts';
import type { Store } from '../ports.ts';
import type { WebhookSettings } from '../settings/settings-webhook.ts';
import { sourcesOf } from './allowed-sources.ts';
import { HookKeeper, type HooksWanted, type Problem, problemOf } from './hook-keeper.ts';
import { type DoorCounts, WebhookDoor } from './webhook-door.ts';
import { type DoorSecrets, doorSecrets } from './webhook-secrets.ts';

/** A hint is passed on so often at most; the last of several is never lost. */
const hintEveryMs = 100;
const openAgainMs = 30_000;
const refusalEveryMs = 60_000;

export interface WebhookHere {
  self: string;
  /** Null: this machine's owner wants no door. */
  settings: WebhookSettings | null;
  ledger(): Ledger | null;
  /** Null: sealed for others. */
  unseal(sealed: string): string | null;
  leads(): boolean;
  /** Multiaddrs of this machine. */
  addresses(): string[];
  hint(): void;
  wallMs(): number;
  store: Pick<Store, 'get' | 'put'>;
  log: Pick<Log, 'info' | 'warn'>;
}

/** This machine's door for webhooks, and the hooks that lead to it. Life: `start` -> `ledgerChanged`s -> `stop`. */
export class WebhookRoom {
  readonly #here: WebhookHere;
  readonly #keeper: HookKeeper;
  #door: WebhookDoor | null = null;
  #doorProblem: Problem | null = null;
  #opening: Promise<void> | null = null;
  #timers = new Set<NodeJS.Timeout>();
  #hintAt = Number.NEGATIVE_INFINITY;
  #isHintDue = false;
  #refusalSaidAt = Number.NEGATIVE_INFINITY;
  #secrets: { of: string; token: string; secrets: DoorSecrets } | null = null;
  /** When the file whose certificate is served was written, ms since the Unix epoch. */
  #servedAt = 0;
  #hasEnded = false;

  constructor(here: WebhookHere) {
    this.#here = here;
    const { store, log } = here;
    this.#keeper = new HookKeeper({
      store,
      warn: (sentence) => log.warn(sentence),
      info: (sentence) => log.info(sentence),
      wallMs: () => here.wallMs(),
      wanted: () => this.#wanted(),
      way: () => {
        const known = this.#known();
        const gitlab = this.#here.ledger()?.gitlab.url ?? null;
        return known === null || gitlab === null ? null : { gitlab, token: known.token };
      },
    });
  }

  start(): void {
    this.#open();
    void this.#keeper.look();
  }

  /** Also when something has changed: the hooks are made as they shall be. */
  look(): Promise<void> {
    return this.#keeper.look();
  }

  async stop(): Promise<void> {
    this.#hasEnded = true;
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#opening;
    await Promise.all([this.#door?.close(), this.#keeper.stop()]);
  }

  get problem(): Problem | null {
    return this.#doorProblem ?? this.#keeper.problem;
  }

  seen(): { url: string | null; hooks: number; counts: DoorCounts | null } {
    return { url: this.#url(), hooks: this.#keeper.hooks, counts: this.#door?.counts ?? null };
  }

  #later(afterMs: number, act: () => void): void {
    if (this.#hasEnded) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, afterMs);
    this.#timers.add(timer);
  }

  #open(): void {
    const { settings } = this.#here;
    if (settings === null || this.#hasEnded) return;
    this.#opening = this.#tryToOpen(settings).finally(() => {
      this.#opening = null;
    });
  }

  async #tryToOpen(settings: WebhookSettings): Promise<void> {
    const { wallMs, log } = this.#here;
    try {
      const certificate = settings.tlsFile === null ? null : readCertificate(settings.tlsFile);
      this.#door = await WebhookDoor.open({
        host: settings.host,
        port: settings.port,
        pem: certificate?.pem ?? null,
        allow: settings.allow.length === 0 ? null : sourcesOf(settings.allow),
        secrets: () => this.#known()?.secrets ?? null,
        onHint: () => this.#hinted(),
        onRefused: (because, from) => this.#refused(because, from),
        wallMs,
      });
      this.#doorProblem = null;
      if (certificate !== null) this.#servedAt = certificate.writtenAt;
      log.info(`webhooks of GitLab are heard at ${settings.host}:${this.#door.port}`);
      if (settings.tlsFile !== null) this.#later(openAgainMs, () => this.#renew(settings));
      void this.#keeper.look();
    } catch (error) {
      const problem = problemOf(error);
      if (this.#doorProblem?.sentence !== problem.sentence) log.warn(problem.sentence);
      this.#doorProblem = problem;
      this.#later(openAgainMs, () => this.#open());
    }
  }

  /** What renewed the certificate wrote the same file anew: the next connection sees the new one. */
  #renew(settings: WebhookSettings): void {
    const file = settings.tlsFile ?? '';
    try {
      const written = readCertificate(file);
      if (written.writtenAt !== this.#servedAt) {
        this.#door?.renew(written.pem);
        this.#servedAt = written.writtenAt;
        this.#here.log.info('webhooks: the new certificate is served');
      }
      this.#doorProblem = null;
    } catch (error) {
      const sentence = `webhooks: the new certificate is not served: ${sentenceOf(error)}`;
      if (this.#doorProblem?.sentence !== sentence) this.#here.log.warn(sentence);
      this.#doorProblem = { sentence, hint: 'one file of PEM with the certificate, its chain and its key' };
    }
    this.#later(openAgainMs, () => this.#renew(settings));
  }

  /** The mesh's token for GitLab, where this machine may lead and so holds it, and what its door believes. */
  #known(): { token: string; secrets: DoorSecrets } | null {
    const { ledger, unseal, self } = this.#here;
    const known = ledger();
    const sealed = known?.gitlab.token ?? null;
    if (known === null || sealed === null || known.gitlab.url === null) return null;
    if (this.#secrets?.of !== sealed) {
      const token = unseal(sealed);
      if (token === null) return null;
      this.#secrets = { of: sealed, token, secrets: doorSecrets(token, known.mesh.id, self) };
    }
    return this.#secrets;
  }

  #url(): string | null {
    const { settings, addresses } = this.#here;
    if (settings === null) return null;
    if (settings.url !== null) return settings.url;
    const { host, port, tlsFile } = settings;
    const isAny = host === '0.0.0.0' || host === '::';
    const own = addresses().flatMap((one) => hostPortOf(one)?.host ?? []);
    const name = isAny ? own.find((one) => !/^(127\.|::1$)/.test(one)) : host;
    if (name === undefined) return null;
    return `${tlsFile === null ? 'http' : 'https'}://${shownAddress({ host: name, port })}`;
  }

  #wanted(): HooksWanted | null | 'unclear' {
    const { ledger: read, self, leads, settings } = this.#here;
    const [ledger, known, door] = [read(), this.#known(), this.#url()];
    if (ledger === null) return 'unclear';
    const { url: gitlab, token, mode } = ledger.gitlab;
    if (settings === null || gitlab === null || token === null || leavingOf(ledger) !== null) return null;
    // Drained, or one of too many: it does not lead, and has no token to tell GitLab from others by.
    if (!rankedVoters(ledger.configuration).includes(self)) return null;
    // A port that is taken for a moment, a token that is not sealed for this machine yet: no reason to remove any.
    if (known === null || door === null || this.#door === null) return 'unclear';
    const isOurs = mode === 'hosted';
    return { gitlab, adminToken: known.token, ledger, self, door, secrets: known.secrets, leads: leads(), isOurs };
  }

  #hinted(): string {
    if (!this.#here.leads()) return 'heard: another machine leads, and has a hook of its own';
    const now = performance.now();
    if (now - this.#hintAt >= hintEveryMs) {
      this.#hintAt = now;
      this.#here.hint();
    } else if (!this.#isHintDue) {
      this.#isHintDue = true;
      this.#later(this.#hintAt + hintEveryMs - now, () => {
        this.#isHintDue = false;
        this.#hintAt = performance.now();
        this.#here.hint();
      });
    }
    return "heard: this machine leads, and looks at GitLab's queue";
  }

  /** A line a minute at most, whoever knocks. */
  #refused(because: string, from: string): void {
    const now = performance.now();
    if (now - this.#refusalSaidAt < refusalEveryMs) return;
    this.#refusalSaidAt = now;
    this.#here.log.warn(`a webhook${from === '' ? '' : ` from ${from}`} was refused: ${because}`);
  }
}

/** Its time is taken first: what is written while it is read counts as new at the next look. */
function readCertificate(file: string): { pem: string; writtenAt: number } {
  try {
    const writtenAt = statSync(file).mtimeMs;
    return { pem: readFileSync(file, 'utf8'), writtenAt };
  } catch (cause) {
    throw new AutogitError(
      'bad-config',
      `the certificate of the door for webhooks cannot be read: ${sentenceOf(cause)}`,
      {
        cause,
        hint: 'name a file that the agent may read: --webhook-tls FILE',
      },
    );
  }
}
