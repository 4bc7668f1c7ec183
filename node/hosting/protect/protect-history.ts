import { dirname } from 'node:path';
import type { BackupRow } from '../../../protocol/asks.ts';
import { asSentence } from '../../../protocol/ids.ts';
import type { ProtectedSeen } from '../../../protocol/report.ts';
import { newestOf, roundText } from '../../../protocol/round-name.ts';
import type { Pressure } from '../../../scheduler/hosting/copies/thinning.ts';
import type { Clock } from '../../clock.ts';
import { InTurn } from '../../in-turn.ts';
import type { Log } from '../../log.ts';
import { showBytes } from '../../settings/quantities.ts';
import { ownersReserve } from '../place-choice.ts';
import type { BackupSource } from '../vault/backup-run.ts';
import type { About } from '../vault/vault-tree.ts';
import { withFix } from '../with-fix.ts';
import { type KeptSnapshot, KeptSnapshots } from './kept-snapshots.ts';
import { roomAt } from './protect-facts.ts';
import { isWithin, keptSource } from './snapshot-source.ts';

/** A GitLab of a person's of which snapshots are kept. */
export interface HistoryOf {
  config: string;
  data: string;
  subvolume: string;
  /** Where they lie, on its file system. */
  folder: string;
  /** One that stands still changes nothing. */
  isRunning: boolean;
}

const timings = { everyMs: 600_000, againMs: 60_000 } as const;

/**
 * Snapshots kept beside the data of a GitLab that runs without the mesh: one each ten minutes, thinned by the ladder of rounds. The
 * owner's room goes before all of them.
 */
export class ProtectHistory {
  readonly #clock: Pick<Clock, 'bootMs'>;
  readonly #log: Pick<Log, 'info' | 'warn'>;
  #kept: KeptSnapshots | null = null;
  #listed: readonly KeptSnapshot[] = [];
  #dueMs = 0;
  #lastMs: number | null = null;
  #pressure: Pressure = 0;
  #problem: string | null = null;
  readonly #pins = new Set<string>();
  /** One thing at a time. */
  readonly #acts = new InTurn();
  #isBusy = false;

  constructor({ clock, log }: { clock: Pick<Clock, 'bootMs'>; log: Pick<Log, 'info' | 'warn'> }) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Now and then. Never throws: what fails is told, and tried again. */
  look(of: HistoryOf, about: About): void {
    if (this.#isBusy || this.#clock.bootMs() < this.#dueMs) return;
    this.#isBusy = true;
    this.#dueMs = this.#clock.bootMs() + timings.everyMs;
    void this.#acts
      .do(() => this.#next(of, about))
      .then(
        () => {
          this.#problem = null;
        },
        (error: unknown) => {
          this.#dueMs = this.#clock.bootMs() + timings.againMs;
          const said = withFix(error);
          if (said !== this.#problem) this.#log.warn(`no snapshot of GitLab is kept: ${said}`);
          this.#problem = said;
        },
      )
      .finally(() => {
        this.#isBusy = false;
      });
  }

  /** What is under way ends by itself: each step of it is short. */
  stop(): Promise<void> {
    return this.#acts.over();
  }

  /** Whether the owner has room enough for one more. */
  async hasRoom({ subvolume }: HistoryOf): Promise<boolean> {
    const { freeBytes, totalBytes } = await roomAt(subvolume);
    return freeBytes >= ownersReserve(totalBytes);
  }

  /** What a backup is read from: one of now, which stays. Throws where there is no room for one. */
  source(of: HistoryOf, about: About, tree: string): BackupSource {
    let pinned: string | null = null;
    return {
      take: () =>
        this.#acts.do(async () => {
          const one = await this.#take(of, about);
          pinned = roundText(one.name);
          this.#pins.add(pinned);
          return keptSource(of, one, tree);
        }),
      drop: async () => {
        if (pinned !== null) this.#pins.delete(pinned);
      },
    };
  }

  /** As they were listed last; the oldest first. */
  get snapshots(): readonly KeptSnapshot[] {
    return this.#listed;
  }

  seen(): Pick<ProtectedSeen, 'kept'> {
    if (this.#kept === null) return {};
    const problem = this.#problem === null ? null : asSentence(this.#problem);
    const [oldest = null] = this.#listed;
    return {
      kept: {
        folder: this.#kept.folder,
        snapshots: this.#listed.length,
        oldest: oldest?.about.at ?? null,
        newest: newestOf(this.#listed)?.about.at ?? null,
        problem,
      },
    };
  }

  async #next(of: HistoryOf, about: About): Promise<void> {
    const kept = this.#at(of);
    this.#listed = await kept.list();
    if (of.isRunning || this.#listed.length === 0) await this.#take(of, about);
  }

  #at({ folder }: HistoryOf): KeptSnapshots {
    if (this.#kept?.folder !== folder) {
      this.#kept = new KeptSnapshots(folder);
      this.#listed = [];
    }
    return this.#kept;
  }

  /** Throws where its owner's room is short: then older ones go, step by step, and at last all. */
  async #take(of: HistoryOf, about: About): Promise<KeptSnapshot> {
    const kept = this.#at(of);
    const { freeBytes, totalBytes } = await roomAt(of.subvolume);
    const reserve = ownersReserve(totalBytes);
    const isShort = freeBytes < reserve;
    if (isShort && this.#pressure === 3) await kept.dropAll(this.#pins);
    this.#pressure = isShort ? (Math.min(3, this.#pressure + 1) as Pressure) : 0;
    if (isShort) {
      await kept.thin(this.#pins, this.#pressure);
      this.#listed = await kept.list();
      const room = `${showBytes(freeBytes)} free, and ${showBytes(reserve)} stay for the machine's owner`;
      throw new Error(`${of.subvolume} has ${room}: ${this.#listed.length} snapshots are left there`);
    }
    const { config, subvolume } = of;
    const wanted = { config: isWithin(subvolume, config) ? null : config, subvolume };
    const taken = await kept.take(wanted, about, await this.#count(kept));
    await kept.thin(this.#pins, this.#pressure);
    this.#listed = await kept.list();
    return taken;
  }

  /** Grows only while this machine's clock of boot time does, as that of rounds. */
  async #count(kept: KeptSnapshots): Promise<number> {
    const now = this.#clock.bootMs();
    const passed = this.#lastMs === null ? 0 : Math.max(0, now - this.#lastMs);
    this.#lastMs = now;
    return (newestOf(await kept.list())?.atMs ?? 0) + passed;
  }
}

/** For `gitlab history`. */
export const keptRows = (snapshots: readonly KeptSnapshot[], self: string): BackupRow[] =>
  snapshots.map(({ name, about, snapshot }) => ({
    ...{
      id: `round-${roundText(name)}`,
      at: about.at,
      version: about.version,
      epoch: about.epoch,
      isOwn: true,
      on: [self],
    },
    because: asSentence(`a snapshot on ${self}: ${dirname(snapshot)}`),
  }));
