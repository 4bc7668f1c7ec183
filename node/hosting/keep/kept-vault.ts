import { existsSync, readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { z } from 'zod';
import type { Answer, Ask } from '../../../protocol/asks.ts';
import { sentenceOf } from '../../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import type { Attention } from '../../../protocol/status.ts';
import type { LedgerVault } from '../../../protocol/vault.ts';
import { findProgram } from '../../clean-spawn.ts';
import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import { showBytes } from '../../settings/quantities.ts';
import { replaceFile, systemTools, toolEnv } from '../system-tools.ts';
import { tagOf } from '../vault/backup-rows.ts';
import type { Reach, Restic } from '../vault/restic.ts';
import { lineTimings } from '../wire/line-options.ts';
import { type CopyDoor, openOnceDoor } from '../wire/once-door.ts';
import { withFix } from '../with-fix.ts';
import { KeptFiles, shortBytes } from './kept-files.ts';
import { keptFolder, leftRepositories } from './left-repositories.ts';
import { holdBack, letGo } from './let-go.ts';
import { type Scope, serveRest } from './rest-door.ts';
import { keepInForce, lowerAfterMs, toForget } from './retention.ts';

interface KeptVaultOptions {
  self: NodeId;
  home: string;
  clock: Pick<Clock, 'bootMs' | 'wallMs'>;
  log: Pick<Log, 'info' | 'warn'>;
  ledger(): Ledger | null;
  /** False: its owner wants nothing of a GitLab of others on it. */
  isAllowed: boolean;
  /** The repository in that folder; null on a machine that may not open it. */
  open(vault: LedgerVault, folder: string): Restic | null;
}

const Keep = z.object({
  daily: z.int().min(1),
  weekly: z.int().nonnegative(),
  monthly: z.int().nonnegative(),
});
const Notes = z.object({
  keep: Keep,
  lower: z.object({ keep: Keep, sinceMs: z.number() }).nullable(),
  /** When it was thinned. */
  thinnedAt: z.number().nullable(),
  /** Backups were let go, and what nobody needs any more is not gone yet. */
  owes: z.boolean().optional(),
});
type Notes = z.infer<typeof Notes>;

export const keptTimings = {
  /** What the ledger says reaches two members one after the other. */
  ledgerMs: 3_000,
};
const ledgerLookMs = 100;
const lookMs = 30_000;
const dayMs = 86_400_000;
const againMs = 3_600_000;
/** Nobody has been there for so long: a backup is over, and not between two connections. */
const quietMs = 60_000;
const connectionsMost = 12;
/** That nobody has come through yet. */
const doorsMost = 24;

const keepText = ({ daily, weekly, monthly }: z.infer<typeof Keep>): string => `${daily},${weekly},${monthly}`;

/**
 * Backups of GitLab that this machine keeps for the one that makes them. That one adds to them and deletes nothing; they are
 * thinned here, at this machine's own times.
 */
export class KeptVault {
  readonly #options: KeptVaultOptions;
  readonly #stopped = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #files: { mesh: string; files: KeptFiles } | null = null;
  /** Who comes, and for what: as soon as that changes, those who came go. */
  #whose = '';
  #guests = new AbortController();
  #connections = 0;
  #doors = 0;
  #quietSince = Number.NEGATIVE_INFINITY;
  #thinning: Promise<void> | null = null;
  #notBefore = 0;
  #problem: string | null = null;

  constructor(options: KeptVaultOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.look(), lookMs);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    this.#stopped.abort(new Error('the agent ends'));
    this.#guests.abort(new Error('the agent ends'));
    await this.#thinning;
  }

  ledgerChanged(): void {
    const whose = JSON.stringify([this.#maker, this.#vault?.repository]);
    if (whose === this.#whose) return;
    this.#whose = whose;
    this.#guests.abort(new Error('backups are not kept here any more'));
    this.#guests = new AbortController();
  }

  /** From whoever makes backups. */
  async answer(from: NodeId, { purpose }: Ask & { kind: 'open-vault-door' }): Promise<Answer> {
    // Its ledger may be there a moment before ours.
    for (let ms = 0; ms < keptTimings.ledgerMs && this.#isEarly(from, purpose); ms += ledgerLookMs)
      await sleep(ledgerLookMs);
    this.ledgerChanged();
    const because = this.#whyNot(from, purpose);
    if (because !== null) return { kind: 'refused', because: asSentence(because) };
    try {
      const files = await this.#kept();
      const signal = AbortSignal.any([this.#stopped.signal, this.#guests.signal]);
      // Who is let in comes in a moment: nothing is thinned meanwhile.
      this.#quietSince = this.#options.clock.bootMs();
      const door = await this.#door((socket) => this.#serve(socket, files, purpose), signal);
      return { kind: 'vault-door', ...door, kept: asSentence(await this.#words(files)) };
    } catch (error) {
      return { kind: 'refused', because: asSentence(`its disk does not take them: ${sentenceOf(error)}`) };
    }
  }

  /** For this machine itself, where it makes them too. */
  readonly local: Reach = async (use) => {
    await this.#thinning;
    const files = await this.#kept();
    this.#connections += 1;
    try {
      return await use({ target: files.folder });
    } finally {
      this.#leaves();
    }
  };

  /** Thins them where that is due and nobody is there. */
  look(): void {
    const { clock, open } = this.#options;
    if (this.#thinning !== null || this.#stopped.signal.aborted) return;
    const known = this.#readNotes();
    const vault = this.#vault;
    const now = clock.bootMs();
    if (known === null || this.#connections > 0 || now < this.#notBefore) return;
    // What was wanted of a place that is left counts anew when it is named again.
    if (vault === null) return void (known.lower === null || this.#begin(() => this.#write({ ...known, lower: null })));
    const isDue = Math.abs(clock.wallMs() - (known.thinnedAt ?? 0)) >= dayMs && now - this.#quietSince >= quietMs;
    const folder = join(this.#home, 'repository');
    const restic = isDue && existsSync(folder) ? open(vault, folder) : null;
    if (restic !== null) this.#begin(() => this.#thin(vault, restic));
    else if (JSON.stringify(this.#inForce(vault, known)) !== JSON.stringify(known))
      this.#begin(async () => void (await this.#noted(vault)));
  }

  /** Nobody comes in meanwhile. */
  #begin(work: () => Promise<void>): void {
    const { clock, log } = this.#options;
    this.#thinning = work()
      .then(() => {
        this.#problem = null;
      })
      .catch((error: unknown) => {
        if (this.#stopped.signal.aborted) return;
        this.#problem = withFix(error);
        this.#notBefore = clock.bootMs() + againMs;
        log.warn(`backups of GitLab that are kept here are not thinned: ${this.#problem}`);
      })
      .finally(() => {
        this.#thinning = null;
      });
  }

  /** What its owner should know. */
  attention(): Attention[] {
    const vault = this.#vault;
    // Whether it is in use is not known yet, and what is left a person may delete.
    if (this.#options.ledger() === null) return [];
    const lines = leftRepositories(this.#options.home, vault === null ? null : this.#home);
    const say = (sentence: string, fix: string | null): void =>
      void lines.push({ code: 'gitlab-vault', severity: 'warn', sentence: asSentence(sentence), fix });
    if (vault === null) return lines;
    if (!this.#options.isAllowed)
      say(
        'backups of GitLab shall be kept here, and autogit.yml of this machine says copies: never: none is',
        'take that line out and start the agent again, or name another place: autogit-node gitlab backup --to TARGET',
      );
    if (this.#problem !== null) say(`backups of GitLab that are kept here are not thinned: ${this.#problem}`, null);
    const lower = this.#readNotes()?.lower;
    if (lower != null) {
      const day = new Date(lower.sinceMs + lowerAfterMs).toISOString().slice(0, 10);
      say(
        `of the backups of GitLab that are kept here fewer shall stay (${keepText(lower.keep)}): that holds from ${day} on, so that nobody takes history away at once`,
        'if nobody of yours asked for that, look at the machine that hosts: autogit-node gitlab',
      );
    }
    return lines;
  }

  get #home(): string {
    return join(this.#options.home, keptFolder, this.#options.ledger()?.mesh.id ?? 'none');
  }

  /** Where this machine keeps it. */
  get #vault(): LedgerVault | null {
    const vault = this.#options.ledger()?.gitlab.vault;
    return vault?.keeper === this.#options.self ? vault : null;
  }

  /** Who makes backups. */
  get #maker(): NodeId | null {
    const gitlab = this.#options.ledger()?.gitlab;
    return (gitlab?.mode === 'hosted' ? gitlab.host : gitlab?.protected?.node) ?? null;
  }

  #isEarly(from: NodeId, purpose: Scope): boolean {
    const isNamed = from === this.#maker && (purpose === 'begin' || this.#vault !== null);
    return this.#options.isAllowed && !isNamed && !this.#stopped.signal.aborted;
  }

  #whyNot(from: NodeId, purpose: Scope): string | null {
    if (!this.#options.isAllowed)
      return 'its owner wants nothing of GitLab on it, and alone changes that: takes copies: never out of autogit.yml there (or --copies never from its start) and starts its agent again';
    if (from !== this.#maker) return 'only the machine that makes backups of GitLab comes in here';
    if (purpose === 'use' && this.#vault === null) return 'the ledger there does not say that it keeps them';
    if (this.#stopped.signal.aborted) return 'its agent ends';
    if (this.#thinning !== null) return 'it thins them now: in a minute or two';
    return this.#connections >= connectionsMost || this.#doors >= doorsMost ? 'there are too many connections' : null;
  }

  async #kept(): Promise<KeptFiles> {
    const mesh = this.#options.ledger()?.mesh.id ?? '';
    if (this.#files?.mesh !== mesh) {
      const files = new KeptFiles(this.#home, this.#options.clock.bootMs);
      await files.open();
      this.#files = { mesh, files };
    }
    return this.#files.files;
  }

  async #door(serve: (socket: TLSSocket) => Promise<void>, signal: AbortSignal): Promise<CopyDoor> {
    let isOpen = true;
    const gone = (): void => {
      if (isOpen) this.#doors -= 1;
      isOpen = false;
    };
    this.#doors += 1;
    setTimeout(gone, lineTimings.doorMs).unref();
    return openOnceDoor((socket) => {
      gone();
      return serve(socket);
    }, signal);
  }

  async #serve(socket: TLSSocket, files: KeptFiles, purpose: Scope): Promise<void> {
    if (this.#thinning !== null || this.#connections >= connectionsMost) return;
    this.#connections += 1;
    try {
      await serveRest(socket, files, purpose);
    } finally {
      this.#leaves();
    }
  }

  #leaves(): void {
    this.#connections -= 1;
    this.#quietSince = this.#options.clock.bootMs();
  }

  async #words(files: KeptFiles): Promise<string> {
    const free = `${showBytes(Math.max(0, await files.freeBytes()))} left for them`;
    const vault = this.#vault;
    if (vault === null) return free;
    // Also where it does not thin yet: what is wanted once it can must not hold at once.
    const { keep } = await this.#noted(vault);
    if (this.#options.open(vault, files.folder) === null)
      return `all of them stay there, as it does not vote and cannot open them; ${free}`;
    if (findProgram('restic', toolEnv.PATH) === null)
      return `all of them stay there until restic is installed on it (apt install restic); ${free}`;
    return `it thins them itself (${keepText(keep)})${this.#problem === null ? '' : `, and cannot: ${this.#problem}`}; ${free}`;
  }

  async #thin(vault: LedgerVault, restic: Restic): Promise<void> {
    const files = await this.#kept();
    const notes = await this.#noted(vault);
    const { signal } = this.#stopped;
    const { clock, log } = this.#options;
    // Whoever left one is not there, and comes in again only when this is over.
    await files.dropLocks();
    const found = await restic.id(signal);
    if (found !== vault.repository) throw new Error('the repository here is not the one of the ledger');
    const backups = [];
    for (const one of await restic.snapshots(signal)) {
      const { mtimeMs } = await stat(files.pathOf({ type: 'snapshots', name: one.id }));
      backups.push({ id: one.id, of: tagOf(one, 'data') ?? '', arrivedMs: mtimeMs });
    }
    const goes = toForget(backups, notes.keep);
    const room = await files.freeBytes();
    // Of backups that were cut off there is what no snapshot needs: it goes with the next one that goes, or where room is short.
    if (goes.length > 0 || notes.owes || room < shortBytes) {
      await this.#write({ ...notes, owes: true });
      await holdBack(files.folder, this.#home, clock.wallMs());
      await restic.drop(goes, Math.max(0, room), signal);
      if (goes.length > 0)
        log.info(`${goes.length} of ${backups.length} backups of GitLab that are kept here were let go`);
    }
    await letGo(this.#home, clock.wallMs());
    const { keep, lower } = notes;
    await this.#write({ keep, lower, thinnedAt: clock.wallMs() });
  }

  /** As the ledger wants it now. */
  #inForce({ keep }: LedgerVault, known: Notes | null): Notes {
    const { daily, weekly, monthly } = keep;
    const nowMs = this.#options.clock.wallMs();
    const { keep: stays, lower } = keepInForce(known, { daily, weekly, monthly }, nowMs);
    return { keep: stays, lower, thinnedAt: known?.thinnedAt ?? nowMs, ...(known?.owes && { owes: true }) };
  }

  /** The same, remembered. */
  async #noted(vault: LedgerVault): Promise<Notes> {
    const known = this.#readNotes();
    const notes = this.#inForce(vault, known);
    if (JSON.stringify(notes) !== JSON.stringify(known)) await this.#write(notes);
    return notes;
  }

  #readNotes(): Notes | null {
    try {
      return Notes.parse(JSON.parse(readFileSync(join(this.#home, 'kept.json'), 'utf8')));
    } catch {
      return null;
    }
  }

  #write(notes: Notes): Promise<void> {
    return replaceFile(join(this.#home, 'kept.json'), `${JSON.stringify(notes)}\n`, systemTools);
  }
}
