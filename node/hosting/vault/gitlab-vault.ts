import { existsSync } from 'node:fs';
import { GitlabProjects } from '../../../gitlab-bridge/gitlab-projects.ts';
import type { Ask, BackupRow } from '../../../protocol/asks.ts';
import type { Comparison } from '../../../protocol/differences.ts';
import { AutogitError } from '../../../protocol/errors.ts';
import { asSentence } from '../../../protocol/ids.ts';
import type { VaultSeen } from '../../../protocol/report.ts';
import type { LedgerVault as Vault } from '../../../protocol/vault.ts';
import { hostedUrl } from '../../../scheduler/hosting/hosted-edits.ts';
import { vaultOf, whyNoRestore } from '../../../scheduler/hosting/vault-edits.ts';
import { nodeName } from '../../../scheduler/snapshot-view.ts';
import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import type { GitlabKeeper } from '../gitlab-keeper.ts';
import type { KeptGitlab } from '../kept-gitlab.ts';
import { treeOf } from '../place-tree.ts';
import { systemTools } from '../system-tools.ts';
import { withFix } from '../with-fix.ts';
import { fitting, type HeldElsewhere, type RoundHolder, replacedRows, roundRows, rowOf } from './backup-rows.ts';
import { makeBackup, type Say, snapshotOf, thinAndCheck } from './backup-run.ts';
import { sideIn } from './compare-data.ts';
import type { DataReplacing } from './data-replacing.ts';
import { backupOf, ComparedPages, compareWith } from './gitlab-compare.ts';
import { projectBeside } from './project-beside.ts';
import type { Restic } from './restic.ts';
import { fitsRound, restoreBeside } from './restore-data.ts';
import { type Bringing, heldBy, type RoundKeeper, refuseElsewhere, withRound } from './round-bringing.ts';
import { VaultMemory } from './vault-memory.ts';
import { beginVault, keptWords, openVault, type VaultKeys } from './vault-opening.ts';
import { type About, dropHalves } from './vault-tree.ts';
import { VaultWork } from './vault-work.ts';

const lookMs = 2_000;
/** ms */
const apiMs = 10_000;

type Replacing = Pick<DataReplacing, 'outcome' | 'isUnderWay' | 'current' | 'ask'>;

interface VaultOptions extends VaultKeys {
  clock: Pick<Clock, 'bootMs' | 'wallMs'>;
  log: Pick<Log, 'info' | 'warn'>;
  keeper: Pick<GitlabKeeper, 'kept'> & { replacing: Replacing };
  /** Which rounds other machines hold, as far as this one was told. */
  holders(): RoundHolder[];
  /** Who is asked for a round that is not here, or only dated by others. */
  roundKeepers(): RoundKeeper[];
  /** Where GitLab's API is, and the mesh's token for it; null while it has none, or this machine may not know it. */
  api(): { url: string; token: string } | null;
}

/**
 * Backups of the GitLab that this machine hosts: made by themselves when they are due, thinned, and read back part by part. One
 * thing at a time. What fails is tried again, and said; nothing that fails here ends the agent, or touches GitLab.
 */
export class GitlabVault {
  readonly #options: VaultOptions;
  readonly #memory: VaultMemory;
  readonly #work: VaultWork;
  #timer: NodeJS.Timeout | null = null;
  /** Of a restore that replaced nothing. */
  #told: VaultSeen['restored'] = null;
  #isAsked = false;
  readonly #compared = new ComparedPages();
  #isTidy = false;

  constructor(options: VaultOptions) {
    this.#options = options;
    this.#work = new VaultWork(options.clock, options.log);
    this.#memory = new VaultMemory(options.home);
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), lookMs);
  }

  /** What is under way ends; what it has done so far is found again by the next try. */
  async stop(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    await this.#work.stop();
  }

  /** What the mesh is told; nothing while no place is named and nothing was restored. */
  seen(): { vault?: VaultSeen } {
    const { vault, kept } = this.#now();
    const restored = this.#options.keeper.replacing.outcome ?? this.#told;
    if (kept === null || (vault === null && restored === null && this.#work.doing === null)) return {};
    const known = vault && this.#memory.of(whose(vault, kept));
    return {
      vault: {
        last: known?.last ?? null,
        checkedAt: known?.checkedAt ?? null,
        doing: this.#work.doing,
        problem: this.#work.problem ?? this.#whyWaits(kept),
        ...keptWords(vault, this.#options),
        restored,
      },
    };
  }

  /** Who asked for one now waits for a word. */
  #whyWaits({ mayRun, life, version }: KeptGitlab): string | null {
    if (!this.#isAsked || this.#work.doing !== null) return null;
    if (mayRun && life.hasWorked && version !== null) return null;
    return asSentence(`GitLab does not work now (${life.because}): a backup is made as soon as it does`);
  }

  /** Looks whether backups can go there, makes the repository, and asks the mesh to remember it. */
  async begin(ask: Ask & { kind: 'begin-vault' }): Promise<string> {
    const { signal } = this.#work;
    const data = this.#kept().hosting.place.path;
    const said = await this.#work.inTurn(() => beginVault(ask, this.#options, { data, signal }));
    this.backupNow();
    return said;
  }

  /** The next one is due at once. */
  backupNow(): string {
    this.#kept();
    if (this.#now().vault === null) throw noPlace();
    this.#isAsked = true;
    this.#work.retryNow();
    this.#look();
    return 'a backup is made now: autogit-node gitlab';
  }

  /** What it is at, in a word; null: nothing. */
  get busy(): string | null {
    return this.#work.isBusy ? (this.#work.doing?.what ?? 'backup') : null;
  }

  /** The newest of them first. */
  async rows(hasRounds = false): Promise<{ rows: BackupRow[]; problem: string | null }> {
    const kept = this.#kept();
    const { vault } = this.#now();
    const { data } = kept.hosting;
    const others = hasRounds ? await heldBy(this.#options.roundKeepers(), this.#work.signal) : [];
    const rows = this.#rowsHere(kept, hasRounds, others);
    let problem: string | null = null;
    try {
      const found = vault === null ? [] : await this.#open(vault).snapshots(this.#work.signal);
      rows.push(...found.map((one): BackupRow => rowOf(one, data, vault?.target ?? '')));
    } catch (error) {
      problem = asSentence(`${vault?.target} cannot be asked: ${withFix(error)}`);
    }
    return { rows: fitting(rows), problem };
  }

  /** What is not as it was then: one page, from that row on. */
  async compare(id: string, from: number): Promise<Comparison> {
    const { hosting } = this.#kept();
    refuseElsewhere(treeOf(hosting.place), id, this.#options.holders());
    return this.#compared.page({ id, from, stopped: this.#work.signal }, (signal) => {
      const tree = treeOf(hosting.place);
      return compareWith({
        ...{ tree, now: sideIn(tree), id, wallMs: this.#options.clock.wallMs(), signal },
        projects: async () => this.#projects().list(),
        backup: () => backupOf(this.#openOwn(), id, signal),
      });
    });
  }

  #projects(): GitlabProjects {
    const api = this.#options.api();
    if (api === null) throw noToken();
    return new GitlabProjects({ ...api, timeoutMs: apiMs });
  }

  #openOwn(): Restic {
    const { vault } = this.#now();
    if (vault === null) throw noPlace();
    return this.#open(vault);
  }

  #rowsHere({ hosting, version }: KeptGitlab, hasRounds: boolean, told: readonly HeldElsewhere[]): BackupRow[] {
    const tree = treeOf(hosting.place);
    if (!existsSync(tree)) return [];
    if (!hasRounds) return replacedRows(tree);
    const self = nodeName(this.#options.ledger(), hosting.host);
    return [...replacedRows(tree), ...roundRows({ tree, self, version, others: this.#options.holders(), told })];
  }

  /** One project of then beside the present one; how it ends stands in what the mesh is told. */
  restoreProject(backup: string, project: string): string {
    const kept = this.#kept();
    const { hosting } = kept;
    const door = this.#options.api();
    if (door === null) throw noToken();
    this.#beginRestore('looks for the project', backup, async (say) => {
      const projects = new GitlabProjects({ ...door, timeoutMs: apiMs });
      const wish = { tree: treeOf(hosting.place), backup, project, projects, door, restic: () => this.#openOwn(), say };
      const beside = () => projectBeside({ ...wish, tools: systemTools, signal: this.#work.signal });
      const because = await withRound(await this.#bringing(kept, backup, say), beside);
      this.#options.log.info(because);
      this.#told = { backup, isDone: true, because: asSentence(because) };
    });
    return 'it is brought back beside the present one: autogit-node gitlab';
  }

  /** Throws where this machine is at another one; a backup is given up for it. Why it failed is told, and that nothing was changed. */
  #beginRestore(phase: string, backup: string, work: (say: Say) => Promise<void>): void {
    const { replacing } = this.#options.keeper;
    const isReplacing = replacing.isUnderWay(this.#kept().hosting.data);
    if (isReplacing || this.#work.doing?.what === 'restore')
      throw new AutogitError('backup', 'this machine is at a restore', {
        hint: 'wait until that is over: autogit-node gitlab',
      });
    this.#told = null;
    replacing.outcome = null;
    this.#isTidy = true;
    const isFirst = !this.#work.isBusy;
    this.#work[isFirst ? 'begin' : 'instead']('restore', phase, async (say) => {
      try {
        await work(say);
      } catch (error) {
        this.#told = { backup, isDone: false, because: asSentence(`nothing was changed: ${withFix(error)}`) };
        throw error;
      }
    });
  }

  /** Begins it; how it ends stands in what the mesh is told. */
  restore(backup: string): string {
    const kept = this.#kept();
    const { version } = kept;
    const { vault } = this.#now();
    const ledger = this.#options.ledger();
    const isUpgraded = ledger?.gitlab.hosted?.upgrade !== undefined;
    const why =
      ledger === null
        ? 'this machine has not got the ledger yet'
        : isUpgraded
          ? 'it is being upgraded'
          : whyNoRestore(ledger);
    if (why !== null) throw notNow(why);
    if (version === null)
      throw new AutogitError('backup', 'GitLab has not worked here yet, so its exact version is not known', {
        hint: 'let it come up once, then restore: autogit-node gitlab',
      });
    this.#beginRestore('looks at the backup', backup, async (say) => {
      const place = await kept.placeAsItIs();
      const restic = vault && this.#open(vault);
      const now = this.#about(kept, version);
      const { signal } = this.#work;
      const tools = systemTools;
      // What GitLab goes back to, should it not come up with the last one, lies there too.
      const mayLetGo = this.#options.keeper.replacing.current(kept.hosting.data) === null;
      const url = hostedUrl(kept.hosting);
      const what = { place, restic, backup, now, tools, signal, say, url, mayLetGo };
      const bringing = await this.#bringing(kept, backup, say, (version) => fitsRound(version, what));
      const { source, about, notes } = await withRound(bringing, () => restoreBeside(what));
      const when = new Date(about.at).toISOString().slice(0, 16).replace('T', ' ');
      const done = `GitLab was restored as of ${when} UTC (${backup.slice(0, 40)}); what was before is kept as replaced-${kept.hosting.epoch}`;
      const because = asSentence([done, ...notes].join('; '));
      const images = about.version === version ? {} : { image: about.image, imageBefore: kept.hosting.image };
      // What was so before it was fetched, which takes hours, may not be so now.
      const later = this.#options.ledger();
      const whyNot = later && whyNoRestore(later, images.image);
      if (whyNot) throw notNow(whyNot);
      this.#options.keeper.replacing.ask({
        ...{ backup, source, because, aboutSource: about, ...images },
        // What goes out of the way is of this moment, not of the one at which the restore was asked for.
        about: this.#about(kept, version),
      });
    });
    return 'it is restored beside what serves, and then takes its place: autogit-node gitlab';
  }

  /** `fits`: throws where a round of that version is not taken. One project of then may be of any. */
  async #bringing(
    kept: KeptGitlab,
    id: string,
    say: Say,
    fits: (version: string | null) => void = () => undefined,
  ): Promise<Bringing> {
    const { ledger, roundKeepers } = this.#options;
    const place = await kept.placeAsItIs();
    const owner = { mesh: ledger()?.mesh.id ?? '', data: kept.hosting.data };
    return { id, place, owner, keepers: roundKeepers(), fits, say, signal: this.#work.signal };
  }

  #look(): void {
    const { vault, kept } = this.#now();
    if (this.#work.isBusy || this.#work.signal.aborted || kept === null) return;
    // What an agent of before has ready to be put in place lies there too, until it is.
    const isReplacing = this.#options.keeper.replacing.isUnderWay(kept.hosting.data);
    if (!this.#isTidy && kept.life.hasWorked && !isReplacing) this.#tidy(kept);
    if (vault === null || !this.#work.isFree) return;
    if (!kept.mayRun || !kept.life.hasWorked || kept.version === null) return;
    if (!this.#isAsked && !this.#memory.isDue(whose(vault, kept), vault.everyMs, this.#options.clock.wallMs())) return;
    this.#work.begin('backup', 'takes a snapshot', (say, signal) => this.#backup(vault, kept, { say, signal }));
  }

  /** What an agent that was killed has left: it would keep the disk's room until the next one is due. */
  #tidy({ hosting }: KeptGitlab): void {
    this.#isTidy = true;
    if (hosting.place.kind !== 'folder') this.#work.tidy(dropHalves(treeOf(hosting.place), systemTools));
  }

  async #backup(vault: Vault, kept: KeptGitlab, under: { say: Say; signal: AbortSignal }): Promise<void> {
    const { log, clock } = this.#options;
    const { place } = kept.hosting;
    if (place.kind === 'folder') throw noSnapshots(place.path);
    const run = { vault, restic: this.#open(vault), ...under };
    const about = this.#about(kept, kept.version as string);
    await kept.place(false);
    const id = await makeBackup(run, about, snapshotOf(treeOf(place), about));
    this.#isAsked = false;
    await this.#memory.remember(whose(vault, kept), { last: { id, at: about.at } });
    log.info(`GitLab was backed up to ${vault.target}: ${id}`);
    await thinAndCheck(run, { data: about.data, made: id }, this.#memory, clock.wallMs());
  }

  #about({ hosting }: KeptGitlab, version: string): About {
    const { data, epoch, image } = hosting;
    const { id = '', name = '' } = this.#options.ledger()?.mesh ?? {};
    return { form: 1, mesh: id, meshName: name, data, epoch, image, version, at: this.#options.clock.wallMs() };
  }

  #now(): { vault: Vault | null; kept: KeptGitlab | null } {
    const ledger = this.#options.ledger();
    return { vault: ledger && vaultOf(ledger), kept: this.#options.keeper.kept };
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

  #open = (vault: Vault): Restic => openVault(vault, this.#options);
}

const whose = ({ repository }: Vault, { hosting }: KeptGitlab) => ({ repository, data: hosting.data });

const notNow = (why: string): AutogitError => new AutogitError('backup', `GitLab cannot be restored now: ${why}`);

const noToken = (): AutogitError =>
  new AutogitError('no-gitlab', 'the mesh has no token of GitLab that this machine may use', {
    hint: 'see whether it is set up: autogit-node gitlab',
  });

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
