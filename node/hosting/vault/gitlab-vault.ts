import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Ask, BackupRow } from '../../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../../protocol/changes.ts';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { asSentence } from '../../../protocol/ids.ts';
import type { Ledger, LedgerVault as Vault } from '../../../protocol/ledger.ts';
import type { VaultSeen } from '../../../protocol/report.ts';
import { whyNoRestore } from '../../../scheduler/hosting/vault-edits.ts';
import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import type { GitlabKeeper } from '../gitlab-keeper.ts';
import type { KeptGitlab } from '../kept-gitlab.ts';
import { existingAt, treeOf } from '../place-tree.ts';
import { systemTools } from '../system-tools.ts';
import { replacedRows, rowOf } from './backup-rows.ts';
import { makeBackup, readBack, type Say, thin } from './backup-run.ts';
import { checkTarget, isFolder } from './backup-target.ts';
import { Restic } from './restic.ts';
import { restoreBeside } from './restore-data.ts';
import { VaultMemory, type VaultNotes, VaultSecret } from './vault-memory.ts';
import { type About, dropHalves, dropReplaced } from './vault-tree.ts';

const dayMs = 86_400_000;
const timings = {
  lookMs: 2_000,
  /** After the first, second, … failure in a row. */
  againMs: [60_000, 300_000, 900_000, 3_600_000, 14_400_000],
  /** One that seems to be made later than that from now was made by a clock that was wrong. */
  aheadMs: 3_600_000,
} as const;
/** What the ledger takes sealed. */
const secretMost = 8192;

interface VaultOptions {
  home: string;
  clock: Pick<Clock, 'bootMs' | 'wallMs'>;
  log: Pick<Log, 'info' | 'warn'>;
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  canOpen(sealed: string): boolean;
  unseal(sealed: string): string;
  sealForVoters(text: string): string;
  keeper: Pick<GitlabKeeper, 'kept' | 'replacing'>;
}

type Doing = NonNullable<VaultSeen['doing']>;

/**
 * Backups of the GitLab that this machine hosts: made by themselves when they are due, thinned, and read back part by part. One
 * thing at a time. What fails is tried again, and said; nothing that fails here ends the agent, or touches GitLab.
 */
export class GitlabVault {
  readonly #options: VaultOptions;
  readonly #memory: VaultMemory;
  readonly #ended = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #work: Promise<void> | null = null;
  #doing: Doing | null = null;
  #problem: string | null = null;
  #failed: VaultSeen['restored'] = null;
  #isAsked = false;
  #isTidy = false;
  #faults = 0;
  #notBefore = 0;
  #known: VaultNotes | null;

  constructor(options: VaultOptions) {
    this.#options = options;
    this.#memory = new VaultMemory(options.home);
    this.#known = this.#memory.read();
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), timings.lookMs);
  }

  /** What is under way ends; what it has done so far is found again by the next try. */
  async stop(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    this.#ended.abort();
    await this.#work;
  }

  /** What the mesh is told; nothing while no place is named and nothing was restored. */
  seen(): { vault?: VaultSeen } {
    const { vault, kept } = this.#now();
    const restored = this.#options.keeper.replacing.outcome ?? this.#failed;
    if (kept === null || (vault === null && restored === null && this.#doing === null)) return {};
    const known = vault && this.#of(vault, kept);
    return {
      vault: {
        last: known?.last ?? null,
        checkedAt: known?.checkedAt ?? null,
        doing: this.#doing,
        problem: this.#problem,
        restored,
      },
    };
  }

  /** Looks whether backups can go there, makes the repository, and asks the mesh to remember it. */
  async begin(ask: Ask & { kind: 'begin-vault' }): Promise<string> {
    const { target, password, credentials, isNew, everyMs, keep } = ask;
    const kept = this.#kept();
    checkTarget(target);
    const same = this.#sameDisk(target, kept);
    const { signal } = this.#ended;
    const restic = this.#restic({ target, password, credentials });
    let repository = await restic.id(signal);
    if (repository !== null && isNew)
      throw new AutogitError('backup', `${target} has a repository already, which another key opens`, {
        hint: `name an empty folder, or give its recovery key: autogit-node gitlab backup --to ${target} --recovery-key-env VAR`,
      });
    if (repository === null && !isNew)
      throw new AutogitError('backup', `there is no repository at ${target}`, {
        hint: isFolder(target)
          ? `see whether its disk is mounted: findmnt -T ${target}`
          : 'look whether the address is right',
      });
    if (repository === null) {
      await restic.init(signal);
      repository = await restic.id(signal);
    }
    if (repository === null) throw new AutogitError('backup', `no repository could be made at ${target}`);
    const secret = this.#options.sealForVoters(JSON.stringify({ password, credentials }));
    const because = 'a person named the place';
    if (secret.length > secretMost)
      throw new AutogitError('backup', 'what opens that target is too long to be sealed for all voters', {
        hint: 'unset what the target does not need of AWS_…, OS_…, B2_… and AZURE_…, then again',
      });
    const { state, because: why } = await this.#options.change({
      kind: 'set-vault',
      vault: { target, repository, secret, everyMs, keep },
      because,
    });
    if (state !== 'done') throw new AutogitError('no-leader', `the mesh does not take it: ${why}`);
    this.#problem = null;
    this.backupNow();
    return asSentence(`backups of GitLab go to ${target}${same}`);
  }

  /** The next one is due at once. */
  backupNow(): string {
    this.#kept();
    if (this.#now().vault === null && this.#options.ledger()?.gitlab.vault === undefined) throw noPlace();
    this.#isAsked = true;
    this.#problem = null;
    this.#notBefore = 0;
    this.#look();
    return 'a backup is made now: autogit-node gitlab';
  }

  /** The newest of them first. */
  async rows(): Promise<{ rows: BackupRow[]; problem: string | null }> {
    const kept = this.#kept();
    const { vault } = this.#now();
    const { data } = kept.hosting;
    const here = existsSync(treeOf(kept.hosting.place)) ? replacedRows(treeOf(kept.hosting.place)) : [];
    if (vault === null) return { rows: here, problem: null };
    try {
      const found = await this.#open(vault).snapshots(this.#ended.signal);
      const rows = found.map((one): BackupRow => rowOf(one, data, vault.target));
      return { rows: [...here, ...rows].sort((a, b) => b.at - a.at).slice(0, 500), problem: null };
    } catch (error) {
      return { rows: here, problem: asSentence(`${vault.target} cannot be asked: ${withFix(error)}`) };
    }
  }

  /** Begins it; how it ends stands in what the mesh is told. */
  restore(backup: string): string {
    const kept = this.#kept();
    const { version } = kept;
    const { vault } = this.#now();
    const ledger = this.#options.ledger();
    const why = ledger === null ? 'this machine has not got the ledger yet' : whyNoRestore(ledger);
    if (why !== null) throw new AutogitError('backup', `GitLab cannot be restored now: ${why}`);
    if (version === null)
      throw new AutogitError('backup', 'GitLab has not worked here yet, so its exact version is not known', {
        hint: 'let it come up once, then restore: autogit-node gitlab',
      });
    if (this.#work !== null)
      throw new AutogitError('backup', `this machine is at a ${this.#doing?.what ?? 'backup'}`, {
        hint: 'wait until that is over: autogit-node gitlab',
      });
    this.#failed = null;
    this.#isTidy = true;
    this.#begin('restore', 'looks at the backup', async (say) => {
      const place = await kept.placeAsItIs();
      const mesh = ledger?.mesh.id ?? '';
      const restic = vault && this.#open(vault);
      const { signal } = this.#ended;
      const tools = systemTools;
      try {
        await dropReplaced(treeOf(place), backup, tools);
        const { source, about } = await restoreBeside({ place, restic, backup, mesh, version, tools, signal, say });
        const when = new Date(about.at).toISOString().slice(0, 16).replace('T', ' ');
        const because = `GitLab was restored as of ${when} UTC (${backup.slice(0, 24)}); what was before is kept as replaced-${kept.hosting.epoch}`;
        this.#options.keeper.replacing.ask({ backup, source, because, about: this.#about(kept, version) });
      } catch (error) {
        this.#failed = { backup, isDone: false, because: asSentence(`nothing was changed: ${withFix(error)}`) };
        throw error;
      }
    });
    return 'it is restored beside what serves, and then takes its place: autogit-node gitlab';
  }

  #look(): void {
    const { bootMs } = this.#options.clock;
    const { vault, kept } = this.#now();
    if (this.#work !== null || this.#ended.signal.aborted || kept === null) return;
    if (!this.#isTidy && kept.life.hasWorked) this.#tidy(kept);
    if (vault === null || this.#work !== null) return;
    if (!kept.mayRun || !kept.life.hasWorked || kept.version === null || bootMs() < this.#notBefore) return;
    if (!this.#isAsked && !this.#isDue(vault, kept)) return;
    this.#begin('backup', 'takes a snapshot', (say) => this.#backup(vault, kept, say));
  }

  /** What an agent that was killed has left: it would keep the disk's room until the next one is due. */
  #tidy({ hosting }: KeptGitlab): void {
    this.#isTidy = true;
    const tree = treeOf(hosting.place);
    if (hosting.place.kind === 'folder') return;
    this.#work = dropHalves(tree, systemTools)
      .catch((error: unknown) => this.#options.log.warn(`what was left of a backup does not go: ${sentenceOf(error)}`))
      .finally(() => {
        this.#work = null;
      });
  }

  #isDue(vault: Vault, kept: KeptGitlab): boolean {
    const last = this.#of(vault, kept)?.last;
    if (!last) return true;
    const passedMs = this.#options.clock.wallMs() - last.at;
    return passedMs >= vault.everyMs || passedMs < -timings.aheadMs;
  }

  #begin(
    what: Doing['what'],
    phase: string,
    work: (say: (phase: string, percent?: number) => void) => Promise<void>,
  ): void {
    const { log, clock } = this.#options;
    const say = (now: string, percent?: number): void => {
      this.#doing = {
        what,
        phase: now.slice(0, 200),
        percent: percent === undefined ? null : Math.floor(percent * 100),
      };
    };
    say(phase);
    this.#work = work(say)
      .then(
        () => {
          this.#faults = 0;
          this.#problem = null;
        },
        (error: unknown) => {
          if (this.#ended.signal.aborted) return;
          if (what !== 'restore') this.#problem = asSentence(withFix(error));
          const wait = timings.againMs[Math.min(this.#faults, timings.againMs.length - 1)] as number;
          this.#faults += 1;
          this.#notBefore = clock.bootMs() + wait;
          log.warn(`the ${what} of GitLab failed: ${withFix(error)}`);
        },
      )
      .finally(() => {
        this.#doing = null;
        this.#work = null;
      });
  }

  async #backup(vault: Vault, kept: KeptGitlab, say: Say): Promise<void> {
    const { log, clock } = this.#options;
    const { place } = kept.hosting;
    if (place.kind === 'folder') throw noSnapshots(place.path);
    const run = { tree: treeOf(place), vault, restic: this.#open(vault), say, signal: this.#ended.signal };
    const about = this.#about(kept, kept.version as string);
    await kept.place(false);
    const id = await makeBackup(run, about);
    this.#isAsked = false;
    await this.#remember(vault, kept, { last: { id, at: about.at } });
    log.info(`GitLab was backed up to ${vault.target}: ${id}`);
    await thin(run, about.data);
    const { checkedAt } = this.#of(vault, kept) ?? { checkedAt: null };
    if (checkedAt !== null && Math.abs(clock.wallMs() - checkedAt) < dayMs * 0.9) return;
    await readBack(run, Math.floor(clock.wallMs() / dayMs));
    await this.#remember(vault, kept, { checkedAt: clock.wallMs() });
  }

  #about({ hosting }: KeptGitlab, version: string): About {
    const { data, epoch, image } = hosting;
    const { id = '', name = '' } = this.#options.ledger()?.mesh ?? {};
    return { form: 1, mesh: id, meshName: name, data, epoch, image, version, at: this.#options.clock.wallMs() };
  }

  #now(): { vault: Vault | null; kept: KeptGitlab | null } {
    return { vault: this.#options.ledger()?.gitlab.vault ?? null, kept: this.#options.keeper.kept };
  }

  #kept(): KeptGitlab {
    const { kept } = this.#options.keeper;
    if (kept === null)
      throw new AutogitError('no-gitlab', 'this machine does not know yet of a GitLab that it hosts', {
        hint: 'see where it runs: autogit-node gitlab',
      });
    const { kind, path } = kept.hosting.place;
    if (kind === 'folder') throw noSnapshots(path);
    return kept;
  }

  #open({ secret }: Vault): Restic {
    const { canOpen, unseal, ledger } = this.#options;
    if (!canOpen(secret))
      throw new AutogitError(
        'backup',
        'this machine does not vote, and only those who do open the key of the backups',
        {
          hint: 'which machines vote: autogit-node status -o wide',
        },
      );
    const target = ledger()?.gitlab.vault?.target ?? '';
    return this.#restic({ target, ...VaultSecret.parse(JSON.parse(unseal(secret))) });
  }

  #restic = (repository: ConstructorParameters<typeof Restic>[0]): Restic =>
    new Restic(repository, join(this.#options.home, 'restic-cache'));

  #of(vault: Vault, { hosting }: KeptGitlab): VaultNotes | null {
    const known = this.#known;
    return known?.repository === vault.repository && known.data === hosting.data ? known : null;
  }

  async #remember(vault: Vault, kept: KeptGitlab, more: Partial<VaultNotes>): Promise<void> {
    const { repository } = vault;
    const { data } = kept.hosting;
    const before = this.#of(vault, kept) ?? { repository, data, last: null, checkedAt: null };
    this.#known = { ...before, ...more };
    await this.#memory.write(this.#known);
  }

  /** Said, not refused: better there than nowhere. */
  #sameDisk(target: string, { hosting }: KeptGitlab): string {
    if (!isFolder(target)) return '';
    const { path } = hosting.place;
    if (target === path || target.startsWith(`${path}/`))
      throw new AutogitError('bad-flag', `${target} lies in GitLab's own data`, {
        hint: 'name a folder on another disk',
      });
    const same = statSync(existingAt(target)).dev === statSync(existingAt(path)).dev;
    return same ? "; it is the same disk as GitLab's data: if that dies both are gone, so name another one too" : '';
  }
}

const noPlace = (): AutogitError =>
  new AutogitError('backup', 'no place for backups is named', {
    hint: 'a folder on another disk: autogit-node gitlab backup --to /mnt/disk/gitlab',
  });

const noSnapshots = (path: string): AutogitError =>
  new AutogitError(
    'unsupported',
    `GitLab's data in ${path} are a plain folder, which has no snapshots: a copy of it while GitLab writes is no backup`,
    {
      hint: "back it up by GitLab's own gitlab-backup, or deploy it as root, where a folder on btrfs or an image can be made",
    },
  );

const withFix = (error: unknown): string =>
  error instanceof AutogitError ? `${error.message} -> ${error.hint}` : sentenceOf(error);
