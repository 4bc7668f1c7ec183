import { cpSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { GitlabKeeper } from '../../node/hosting/gitlab-keeper.ts';
import type { BehindGate } from '../../node/hosting/lease-at-gate.ts';
import type { MovedCopies, TargetSeen } from '../../node/hosting/move/move-ports.ts';
import type { SystemTools } from '../../node/hosting/system-tools.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import type { GitlabSeen } from '../../protocol/report.ts';
import { epochAfter } from '../../scheduler/hosting/epochs.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { PlayedEngine } from './played-engine.ts';

const system = systemClock();

/** A keeper of GitLab whose engine, place, gate and mesh the test plays. */
export class KeeperRig {
  home = '';
  engine = new PlayedEngine();
  behind: (BehindGate & { until: number }) | null = null;
  seen: (GitlabSeen | null)[] = [];
  order: string[] = [];
  ledger: { mesh: object; gitlab: Record<string, unknown>; recovery?: unknown } = { mesh: {}, gitlab: {} };
  isOtherFolder = false;
  isHeard = true;
  /** The mesh is recovered by force before it hears the next word of its host. */
  isRecovered = false;
  mayMake: boolean[] = [];
  closing: Promise<void> = Promise.resolve();
  /** How upgrades ended. */
  ended: string[] = [];
  /** Steps of changing data that are left before the power goes; null: it stays. */
  stepsLeft: number | null = null;
  /** So much later it is. */
  skewMs = 0;
  copiesEnded: (() => void) | null = null;
  /** What was booted beside the grace has other folders. */
  isBootedStrange = false;
  /** Programs that change data. */
  ran: string[] = [];
  /** Of a move. */
  told: Change[] = [];
  target: TargetSeen = { waits: null, percent: null, fails: null };
  /** The copies on another machine, as a move goes by them. */
  moved: MovedCopies = {
    lastRound: async () => ({ era: 0, epoch: this.ledger.gitlab.epoch as number, number: 7 }),
    arrived: (_node, from) => from,
    lacks: () => null,
    hasBulk: () => true,
  };
  readonly clock = {
    ...system,
    bootMs: () => system.bootMs() + this.skewMs,
    wallMs: () => system.wallMs(),
  };
  #keepers: GitlabKeeper[] = [];

  begins(): void {
    this.home = mkdtempSync(join(tmpdir(), 'autogit-keeper-'));
    this.engine = new PlayedEngine();
    [this.behind, this.seen, this.order, this.isOtherFolder, this.closing] = [null, [], [], false, Promise.resolve()];
    this.isRecovered = false;
    this.isBootedStrange = false;
    this.ran = [];
    [this.told, this.target] = [[], { waits: null, percent: null, fails: null }];
    [this.isHeard, this.mayMake, this.ended, this.stepsLeft, this.skewMs] = [true, [], [], null, 0];
    const hosted = hostedGitlab({ data: 'data-three', preset: 'minimal' });
    this.ledger = {
      mesh: { id: 'mesh', name: 'home' },
      gitlab: { mode: 'hosted', url: null, host: 'kang', epoch: 3, hosted },
    };
  }

  async ends(): Promise<void> {
    this.engine.isAway = false;
    for (const keeper of this.#keepers) await keeper.stop();
    this.#keepers = [];
    // What a keeper had begun beside its turns may write a file yet.
    rmSync(this.home, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  state(): string | undefined {
    return this.seen.at(-1)?.state;
  }

  begin(self = 'kang'): GitlabKeeper {
    const { home, clock, engine } = this;
    const keeper = new GitlabKeeper({
      ...{ self, home, clock, host: engine, tools: this.#tools },
      log: { info: () => undefined, warn: () => undefined },
      people: async () => ({ users: [], groups: [] }),
      ledger: () => this.ledger as unknown as Ledger,
      openPlace: async (hosting, may) => {
        this.mayMake.push(may);
        const folders = { ...this.#place.folders, config: join(home, 'config') };
        return { ...this.#place, path: hosting.place.path, folders };
      },
      removePlace: async () => void this.order.push('place removed'),
      copies: {
        opened: () => undefined,
        ends: async () => void this.copiesEnded?.(),
        lastRound: () => this.moved.lastRound(),
        arrived: (node, from) => this.moved.arrived(node, from),
        lacks: (node) => this.moved.lacks(node),
        hasBulk: (node) => this.moved.hasBulk(node),
      },
      move: { target: async () => this.target, busy: () => null },
      beside: {
        ready: () => (this.engine.booted === null ? null : { id: this.engine.booted, folder: '/srv/gitlab/clone' }),
        taken: async () => {
          this.engine.booted = null;
        },
        none: async () => {
          if (this.engine.booted !== null) await this.engine.kill(this.engine.booted);
          this.engine.booted = null;
        },
      },
      gateFor: () => ({
        renew: async (lease) => {
          this.behind = lease;
        },
        close: async (epoch) => {
          await this.closing;
          this.behind = null;
          this.order.push(`gate of ${epoch} closed`);
        },
        end: async () => void this.order.push('gate ended'),
        problems: () => [],
      }),
      change: (change) => this.#change(change),
      seal: (text) => text,
      unseal: (text) => text,
      sealForVoters: (text) => text,
      meshToken: () => (this.ledger.gitlab.token as string | undefined) ?? null,
      report: (one) => void this.seen.push(one),
      onGateClosed: (epoch) => void this.order.push(`said closed ${epoch}`),
    });
    this.#keepers.push(keeper);
    keeper.start();
    return keeper;
  }

  /** Looks again and again, with or without a lease, until it is so. */
  async until(keeper: GitlabKeeper, holds: () => boolean, hasLease = true): Promise<void> {
    const look = (): boolean => {
      if (hasLease) keeper.holdLease(this.ledger.gitlab.epoch as number, this.clock.bootMs() + 4000);
      keeper.ledgerChanged();
      return holds();
    };
    await expect.poll(look, { timeout: 10_000, interval: 20 }).toBe(true);
  }

  async #change(change: Change): Promise<ChangeOutcome> {
    if (!this.isHeard) return { state: 'unknown', because: 'no leader' };
    if (this.isRecovered) this.ledger.recovery = {};
    const { gitlab } = this.ledger;
    const next = epochAfter(this.ledger as unknown as Ledger);
    if (change.kind === 'gitlab-restored')
      this.ledger.gitlab = {
        ...{ ...gitlab, url: null, token: null, epoch: next },
        hosted: { ...(gitlab.hosted as HostedGitlab), ...(change.image !== undefined && { image: change.image }) },
      };
    if (change.kind === 'gitlab-upgraded') {
      const hosted = { ...(gitlab.hosted as HostedGitlab), image: change.image };
      this.ledger.gitlab = { ...gitlab, epoch: next, hosted };
    }
    this.#moves(change, next);
    if (change.kind === 'gitlab-upgrade-ended') this.ended.push(change.isDone ? 'done' : change.because);
    if (change.kind === 'gitlab-stands') this.ledger.gitlab = { ...gitlab, url: change.url, token: change.token };
    return { state: 'done', because: '' };
  }

  /** As `move-edits.ts` does it, of which tests of its own tell. */
  #moves(change: Change, next: number): void {
    const { gitlab } = this.ledger;
    const { move, ...hosted } = gitlab.hosted as HostedGitlab;
    if (move === undefined) return;
    if (change.kind === 'gitlab-moved') {
      this.told.push(change);
      const base = { ...move, base: change.base };
      this.ledger.gitlab = { ...gitlab, host: move.to, epoch: next, hosted: { ...hosted, move: base } };
    }
    if (change.kind === 'gitlab-move-stands') this.ledger.gitlab = { ...gitlab, hosted };
    if (change.kind !== 'gitlab-move-ends') return;
    this.told.push(change);
    if (move.unplanned) {
      const unplanned = { ...move.unplanned, failed: change.because };
      this.ledger.gitlab = { ...gitlab, hosted: { ...hosted, move: { ...move, unplanned } } };
    } else this.ledger.gitlab = { ...gitlab, host: move.from, epoch: change.isClosed ? next : change.epoch, hosted };
  }

  readonly #place: DataPlace = {
    kind: 'folder',
    path: '/srv/gitlab',
    folders: { config: '/c', data: '/d', bulk: '/b', logs: '/l' },
    notices: [],
    freeBytes: () => 2 ** 40,
    check: async () => undefined,
    withPrograms: (act) => act(),
    makeRoom: async () => undefined,
    checkInside: (pid) => {
      if (this.isOtherFolder || (this.isBootedStrange && pid === 5))
        throw new AutogitError('data-place', 'the container sees another folder');
    },
    tend: async () => [],
    letGo: async () => undefined,
    close: async () => void this.order.push('place closed'),
  };

  /** As on btrfs, in plain folders. Each call by itself: an agent may die between any two. */
  readonly #tools: SystemTools = {
    run: (file, args) =>
      this.#step(() => {
        this.ran.push([file, ...args].join(' '));
        if (args[1] === 'snapshot') cpSync(args.at(-2) as string, args.at(-1) as string, { recursive: true });
        if (args[1] === 'delete') rmSync(args.at(-1) as string, { recursive: true });
        return '';
      }),
    write: (path, text) => this.#step(() => writeFileSync(path, text)),
    rename: (from, to) => this.#step(() => renameSync(from, to)),
    syncFolder: () => this.#step(() => undefined),
  };

  async #step<T>(act: () => T): Promise<T> {
    if (this.stepsLeft !== null && this.stepsLeft-- <= 0) throw new Error('the power went');
    return act();
  }
}
