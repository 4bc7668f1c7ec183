import { join } from 'node:path';
import type { Ask, BackupRow } from '../../../protocol/asks.ts';
import { AutogitError } from '../../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../../protocol/ids.ts';
import type { ProtectedGitlab } from '../../../protocol/protected-gitlab.ts';
import type { ProtectedSeen } from '../../../protocol/report.ts';
import type { LedgerVault } from '../../../protocol/vault.ts';
import { vaultOf } from '../../../scheduler/hosting/vault-edits.ts';
import { nodeName } from '../../../scheduler/snapshot-view.ts';
import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import { packageVersion } from '../../machine/gitlab-here.ts';
import { type OmnibusContainer, omnibusContainers } from '../../machine/omnibus-containers.ts';
import type { ServiceHost } from '../service-host.ts';
import { fitting, rowOf } from '../vault/backup-rows.ts';
import { type BackupSource, makeBackup, type Say, thinAndCheck } from '../vault/backup-run.ts';
import { VaultMemory } from '../vault/vault-memory.ts';
import { beginVault, keptWords, openVault, type VaultKeys } from '../vault/vault-opening.ts';
import type { About } from '../vault/vault-tree.ts';
import { VaultWork } from '../vault/vault-work.ts';
import { withFix } from '../with-fix.ts';
import { dropNoted, noted } from './left-behind.ts';
import { ownFile, ownName, ownSource } from './own-source.ts';
import { foldersToRead, protectFacts } from './protect-facts.ts';
import { type HistoryOf, keptRows, ProtectHistory } from './protect-history.ts';
import { chooseWay, imageToRestore, type ProtectFacts, whereKept } from './protect-way.ts';
import { containerOf, dataOf } from './protected-container.ts';
import { snapshotSource } from './snapshot-source.ts';

interface ProtectorOptions extends VaultKeys {
  self: NodeId;
  clock: Pick<Clock, 'bootMs' | 'wallMs'>;
  log: Pick<Log, 'info' | 'warn'>;
  /** Of the engine that runs it. */
  dockerHost: string | null;
  host: Pick<ServiceHost, 'exec'>;
  /** What the mesh is told; null where none is protected here. */
  report(seen: ProtectedSeen | null): void;
}

interface Found {
  container: OmnibusContainer;
  facts: ProtectFacts;
  version: string | null;
  way: ProtectedSeen['way'];
  because: string;
}

/** How a backup under way tells of itself, and when it ends. */
interface Under {
  say: Say;
  signal: AbortSignal;
}

type Folders = Record<'config' | 'data' | 'backups' | 'subvolume' | 'snapshots', string>;

const lookMs = 2_000;
/** An engine and a disk are asked so often. */
const findMs = 30_000;
const versionMs = 15_000;
/** The engine of a machine that has just begun is not there yet. */
const tidyMs = 60_000;

/**
 * Backups of a GitLab that this machine runs without the mesh: made by themselves when they are due, thinned and read back, as
 * those of a hosted one are. Nothing of that GitLab is started, stopped or set; its container is looked for again and again, as a
 * person may make it anew at any time.
 */
export class GitlabProtector {
  readonly #options: ProtectorOptions;
  readonly #memory: VaultMemory;
  readonly #work: VaultWork;
  #timer: NodeJS.Timeout | null = null;
  #found: Found | null = null;
  #missing: string | null = null;
  #foundAt: number | null = null;
  #isFinding = false;
  #isAsked = false;
  /** When what an agent that was killed has left is let go next; null once it is gone. */
  #tidyAt: number | null = 0;
  /** Of the backup that is under way. */
  #underWay: { data: string; gone: AbortController } | null = null;
  #told = '';
  readonly #history: ProtectHistory;

  constructor(options: ProtectorOptions) {
    this.#options = options;
    this.#history = new ProtectHistory(options);
    this.#work = new VaultWork(options.clock, options.log);
    this.#memory = new VaultMemory(options.home, 'gitlab-protected.json');
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), lookMs);
  }

  async stop(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    await Promise.all([this.#work.stop(), this.#history.stop()]);
  }

  /** The GitLab that this machine backs up. */
  get #here(): ProtectedGitlab | null {
    const known = this.#options.ledger()?.gitlab.protected;
    return known?.node === this.#options.self ? known : null;
  }

  get #vault(): LedgerVault | null {
    const ledger = this.#options.ledger();
    return ledger && vaultOf(ledger);
  }

  protects(): boolean {
    return this.#here !== null;
  }

  async begin(ask: Ask & { kind: 'begin-vault' }): Promise<string> {
    const { folder } = this.#required();
    const { signal } = this.#work;
    const said = await this.#work.inTurn(() => beginVault(ask, this.#options, { data: folder, signal }));
    this.backupNow();
    return said;
  }

  backupNow(): string {
    this.#required();
    if (this.#vault === null)
      throw new AutogitError('backup', 'no place for backups is named', {
        hint: 'a folder on another disk: autogit-node gitlab backup --to /mnt/disk/gitlab',
      });
    this.#isAsked = true;
    this.#foundAt = null;
    this.#work.retryNow();
    this.#look();
    return 'a backup is made now: autogit-node gitlab';
  }

  async rows(): Promise<{ rows: BackupRow[]; problem: string | null }> {
    const { data } = this.#required();
    const vault = this.#vault;
    const kept = keptRows(this.#history.snapshots, nodeName(this.#options.ledger(), this.#options.self));
    if (vault === null) return { rows: fitting(kept), problem: null };
    try {
      const found = await openVault(vault, this.#options).snapshots(this.#work.signal);
      const made = found.map((one) => rowOf(one, data, vault.target));
      return { rows: fitting([...kept, ...made]).slice(0, 500), problem: null };
    } catch (error) {
      return { rows: fitting(kept), problem: asSentence(`${vault.target} cannot be asked: ${withFix(error)}`) };
    }
  }

  /** Nothing is put into a GitLab that is a person's own. */
  restore(backup: string): never {
    throw new AutogitError('unsupported', 'the mesh changes nothing in a GitLab that it does not run', {
      hint: `what can be done with ${backup}: autogit-node gitlab restore ${backup}`,
    });
  }

  restoreProject(backup: string): never {
    return this.restore(backup);
  }

  compare(): never {
    throw new AutogitError('unsupported', 'the mesh compares only a GitLab that it runs itself', {
      hint: 'which backups there are: autogit-node gitlab history',
    });
  }

  #required(): ProtectedGitlab {
    const known = this.#here;
    if (known === null)
      throw new AutogitError('no-gitlab', 'this machine does not know yet of a GitLab that it shall back up', {
        hint: 'see which one: autogit-node gitlab',
      });
    return known;
  }

  #look(): void {
    const known = this.#here;
    // Also of a GitLab that this machine backs up no more.
    this.#tidy();
    if (this.#underWay && this.#underWay.data !== known?.data)
      this.#underWay.gone.abort(new Error('it shall not be backed up any more'));
    if (known === null) {
      this.#found = null;
      this.#foundAt = null;
      return this.#tell(null);
    }
    const { bootMs, wallMs } = this.#options.clock;
    if (!this.#isFinding && !this.#work.isBusy && (this.#foundAt === null || bootMs() - this.#foundAt > findMs))
      void this.#find(known);
    this.#tell(this.#seen(known));
    const of = this.#found && historyOf(known, this.#found);
    if (of !== null && this.#found?.version != null && !this.#isFinding)
      this.#history.look(of, this.#about(known, this.#found as Found & { version: string }));
    const [vault, found] = [this.#vault, this.#found];
    if (vault === null || found?.version == null || this.#isFinding || !this.#work.isFree) return;
    if (!this.#isAsked && !this.#memory.isDue(whose(vault, known), vault.everyMs, wallMs())) return;
    this.#work.begin('backup', 'looks at its container', (say) => this.#untilGone(vault, known, say));
  }

  #tidy(): void {
    const { home, host, clock } = this.#options;
    const now = clock.bootMs();
    if (this.#tidyAt === null || now < this.#tidyAt || this.#work.isBusy) return;
    this.#tidyAt = now + tidyMs;
    const tidied = dropNoted(home, host).then(() => {
      this.#tidyAt = null;
    });
    this.#work.tidy(tidied);
  }

  /** Never throws: what is missing is told. */
  async #find(known: ProtectedGitlab): Promise<void> {
    this.#isFinding = true;
    try {
      const all = await omnibusContainers(this.#options.dockerHost, (one) => dataOf(one) === known.folder);
      const found = containerOf(known, all);
      this.#missing = 'missing' in found ? found.missing : null;
      this.#found = 'missing' in found ? null : await this.#describe(found.container);
    } catch (error) {
      this.#found = null;
      this.#missing = asSentence(withFix(error));
    } finally {
      this.#foundAt = this.#options.clock.bootMs();
      this.#isFinding = false;
    }
  }

  async #describe(container: OmnibusContainer): Promise<Found | null> {
    const facts = await protectFacts(container, { home: this.#options.home, counts: false });
    const choice = chooseWay(facts);
    if ('refused' in choice) {
      this.#missing = asSentence(`${choice.refused}: ${choice.fix}`);
      return null;
    }
    const isSame = this.#found?.container.id === container.id && this.#found.version !== null;
    const version = isSame ? (this.#found?.version ?? null) : await this.#versionOf(container);
    if (version === null) this.#missing = 'which version it is cannot be read in its container yet';
    return { container, facts, version, ...choice };
  }

  /** As GitLab itself says it; null while its container does not answer. */
  async #versionOf({ id }: OmnibusContainer): Promise<string | null> {
    const { code, out } = await this.#options.host.exec(id, ['cat', packageVersion], { timeoutMs: versionMs });
    const said = /^\d+\.\d+\.\d+[\w.-]*/.exec(out.trim())?.[0] ?? null;
    return code === 0 ? said : null;
  }

  /** A backup; given up, with what runs for it, when nobody protects that GitLab any more. */
  async #untilGone(vault: LedgerVault, known: ProtectedGitlab, say: Say): Promise<void> {
    const gone = new AbortController();
    this.#underWay = { data: known.data, gone };
    try {
      await this.#backup(vault, known, { say, signal: AbortSignal.any([this.#work.signal, gone.signal]) });
    } catch (error) {
      if (!gone.signal.aborted) throw error;
      this.#isAsked = false;
      this.#options.log.info(
        `the backup of GitLab in container ${known.container} was given up: it is protected no more`,
      );
    } finally {
      this.#underWay = null;
    }
  }

  async #backup(vault: LedgerVault, known: ProtectedGitlab, { say, signal }: Under): Promise<void> {
    const { log, clock } = this.#options;
    // As it is at this moment: it may have been made anew, or moved to another disk.
    await this.#find(known);
    const found = this.#found;
    if (found?.version == null)
      throw new AutogitError('backup', this.#missing ?? 'its container is not there', {
        hint: 'look at it: docker ps -a',
      });
    const run = { vault, restic: openVault(vault, this.#options), say, signal };
    const about = this.#about(known, found as Found & { version: string });
    say(found.way === 'snapshot' ? 'takes a snapshot' : "GitLab's own backup");
    const id = await makeBackup(run, about, await this.#source(known, found, about, { say, signal }));
    this.#isAsked = false;
    await this.#memory.remember(whose(vault, known), { last: { id, at: about.at } });
    log.info(`GitLab in container ${found.container.name} was backed up to ${vault.target}: ${id}`);
    await thinAndCheck(run, { data: about.data, made: id }, this.#memory, clock.wallMs());
  }

  async #source(known: ProtectedGitlab, found: Found, about: About, under: Under): Promise<BackupSource> {
    const { container, facts, way } = found;
    // The way was chosen by what is there.
    const { config, data, backups, subvolume, snapshots } = facts as ProtectFacts & Folders;
    const { host, home } = this.#options;
    const tree = join(home, 'gitlab-protect', way ?? 'none');
    const of = historyOf(known, found);
    // Where its owner's room is short none is kept, and one that is gone again afterwards does.
    if (of !== null && (await this.#history.hasRoom(of))) return this.#history.source(of, about, tree);
    if (way === 'snapshot') {
      const source = snapshotSource({ config, data, subvolume, snapshot: snapshots, tree }, about);
      return noted(home, { snapshot: snapshots }, source);
    }
    const folders = await foldersToRead(container, data);
    const source = ownSource({ host, id: container.id, config, folders, backups, tree, ...under }, about);
    const run = { container: container.id, name: ownName(about.data) };
    return noted(home, { file: join(backups, ownFile(about.data)), run }, source);
  }

  #about({ data }: ProtectedGitlab, { version, container, way }: Found & { version: string }): About {
    const { id = '', name = '' } = this.#options.ledger()?.mesh ?? {};
    const image = imageToRestore(container.image, version);
    const at = this.#options.clock.wallMs();
    return { ...{ form: 1, mesh: id, meshName: name, data, epoch: 1, image, version, at }, ...(way && { way }) };
  }

  #seen(known: ProtectedGitlab): ProtectedSeen {
    const found = this.#found;
    const vault = this.#vault;
    const notes = vault && this.#memory.of(whose(vault, known));
    const { doing, problem } = this.#work;
    // Who asked for one now waits for a word.
    const why = problem ?? (this.#isAsked && doing === null ? this.#missing : null);
    return {
      data: known.data,
      version: found?.version ?? null,
      way: found?.way ?? null,
      because: asSentence(found?.because ?? 'its container is looked for'),
      missing: this.#missing,
      vault: {
        ...{ last: notes?.last ?? null, checkedAt: notes?.checkedAt ?? null, doing, problem: why, restored: null },
        ...keptWords(vault, this.#options),
      },
      ...(known.keeps && this.#history.seen()),
    };
  }

  /** The same again is no news. */
  #tell(seen: ProtectedSeen | null): void {
    const now = JSON.stringify(seen);
    if (now === this.#told) return;
    this.#told = now;
    this.#options.report(seen);
  }
}

/** Null where none are kept: nobody agreed, or its data do not lie so. */
function historyOf(known: ProtectedGitlab, { facts, container, way }: Found): HistoryOf | null {
  const where = whereKept(facts);
  const { config, data, subvolume } = facts;
  if (!known.keeps || way !== 'snapshot' || !('folder' in where)) return null;
  if (config === null || data === null || subvolume === null) return null;
  return { config, data, subvolume, folder: where.folder, isRunning: container.isRunning };
}

const whose = ({ repository }: LedgerVault, { data }: ProtectedGitlab) => ({ repository, data });
