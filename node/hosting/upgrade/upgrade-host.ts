import { join } from 'node:path';
import type { Change, ChangeOutcome } from '../../../protocol/changes.ts';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import type { UpgradeWish } from '../../../protocol/hosted-upgrade.ts';
import { asSentence } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import type { UpgradeSeen } from '../../../protocol/report.ts';
import { whyNoUpgrade } from '../../../scheduler/hosting/upgrade-edits.ts';
import { isOfVersion, type UpgradeStep, upgradeWay } from '../../../scheduler/hosting/upgrade-path.ts';
import { plural } from '../../../scheduler/phrases.ts';
import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import type { GitlabClones } from '../clone/gitlab-clones.ts';
import type { GitlabKeeper } from '../gitlab-keeper.ts';
import { gitlabTimings } from '../gitlab-state.ts';
import type { KeptGitlab } from '../kept-gitlab.ts';
import { treeOf } from '../place-tree.ts';
import { whyUnprotected } from '../replica/unprotected.ts';
import type { ServiceHost } from '../service-host.ts';
import type { SystemTools } from '../system-tools.ts';
import type { DataReplacing } from '../vault/data-replacing.ts';
import type { GitlabVault } from '../vault/gitlab-vault.ts';
import { type About, dropFolder, rehearsingFolder, upgradingFolder } from '../vault/vault-tree.ts';
import { withFix } from '../with-fix.ts';
import { backgroundMigrations } from './background-migrations.ts';
import { rehearse } from './rehearsal.ts';
import { roomFor } from './upgrade-room.ts';

const timings = {
  lookMs: 2_000,
  /** After an engine or a mesh that did not answer, or while something else has to end first. */
  againMs: 15_000,
  /** Migrations of a large database take hours; more than that, and a person should look. */
  migrationsMs: 86_400_000,
  /** Of a boot whose length no rehearsal has told: it may migrate a large database. */
  longestBootMs: 3_600_000,
} as const;

interface UpgradeOptions {
  clock: Pick<Clock, 'bootMs' | 'wallMs'>;
  log: Pick<Log, 'info' | 'warn'>;
  host: ServiceHost;
  clones: GitlabClones;
  keeper: Pick<GitlabKeeper, 'kept'> & { replacing: Pick<DataReplacing, 'current' | 'ask'> };
  vault: Pick<GitlabVault, 'busy'>;
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  meshToken(): string | null;
  tools: SystemTools;
}

type Say = (phase: string, percent?: number | null) => void;

/** Not yet; it is looked at again. */
class Waits extends Error {}

/**
 * The host's part of an upgrade that the ledger wants: while GitLab serves, the next image of the way is pulled and tried on a
 * clone; then the keeper has the container change. What an agent was at when it ended the next one begins anew, as nothing
 * of it has touched GitLab.
 */
export class GitlabUpgrade {
  readonly #options: UpgradeOptions;
  readonly #ended = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #work: Promise<void> | null = null;
  #doing: UpgradeSeen['doing'] = null;
  #rehearsed: UpgradeSeen['rehearsed'] = null;
  #notBefore = 0;
  #waitsSince: number | null = null;

  constructor(options: UpgradeOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), timings.lookMs);
    this.#look();
  }

  async stop(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    this.#ended.abort();
    await this.#work;
  }

  seen(): { upgrade?: UpgradeSeen } {
    if (this.#doing === null && this.#rehearsed === null) return {};
    return { upgrade: { doing: this.#doing, rehearsed: this.#rehearsed } };
  }

  /** What else would be in its way; null: nothing. */
  busy(kept: KeptGitlab): string | null {
    const { replacing } = this.#options.keeper;
    if (this.#doing?.what === 'rehearsal') return 'an upgrade is being rehearsed';
    if (replacing.current(kept.hosting.data) !== null) return 'its data are being replaced';
    const { busy } = this.#options.vault;
    return busy === null ? null : `this machine is at a ${busy}`;
  }

  /** Begins it; how it ends stands in what the mesh is told. Nothing is changed by it. */
  rehearse(image: string): string {
    const kept = this.#options.keeper.kept;
    const { hosted } = this.#options.ledger()?.gitlab ?? {};
    if (kept === null || kept.version === null || !kept.life.hasWorked)
      throw refused('GitLab does not serve on this machine now, so nothing is rehearsed', 'autogit-node gitlab');
    if (this.#work !== null || hosted?.upgrade !== undefined)
      throw refused('it is being upgraded, or rehearsed, already', 'wait until that is over: autogit-node gitlab');
    const way = upgradeWay(kept.version, image);
    if ('refused' in way) throw refused(way.refused, way.fix ?? 'autogit-node gitlab');
    const [step] = way.steps as [UpgradeStep, ...UpgradeStep[]];
    this.#rehearsed = null;
    this.#begin('rehearsal', step.version, async (say) => {
      try {
        await this.#pull(step, say);
        const { tookMs, migrations } = await this.#rehearse(kept, step, say);
        const left = migrations === 0 ? '' : `; ${plural(migrations, 'background migration')} go on after it`;
        const rest = way.steps.length === 1 ? '' : `; of ${way.steps.length} versions on the way this was the first`;
        const because = `GitLab ${step.version} came up on a clone after ${Math.round(tookMs / 1000)} s, and works${left}${rest}`;
        this.#rehearsed = { image, isDone: true, because, tookMs };
      } catch (error) {
        if (this.#ended.signal.aborted) return;
        this.#rehearsed = { image, isDone: false, because: asSentence(withFix(error)), tookMs: null };
      }
    });
    return 'it is tried on a clone beside what serves: autogit-node gitlab';
  }

  #look(): void {
    const { keeper, ledger, clock } = this.#options;
    const { kept } = keeper;
    const hosted = ledger()?.gitlab.hosted;
    if (this.#work !== null || this.#ended.signal.aborted || kept === null) return;
    if (hosted?.upgrade === undefined) {
      this.#doing = null;
      return;
    }
    if (hosted.data !== kept.hosting.data || hosted.ending || clock.bootMs() < this.#notBefore) return;
    if (keeper.replacing.current(hosted.data) !== null || !kept.mayRun || !kept.life.hasWorked) return;
    if (kept.version === null) return;
    const wish = hosted.upgrade;
    const way = upgradeWay(kept.version, wish.image);
    if (kept.hosting.image === wish.image && isOfVersion(kept.version, wish.image))
      return this.#begin('upgrade', '', () => this.#over(kept, true, `GitLab is ${wish.image}`));
    if ('refused' in way) return this.#begin('upgrade', '', () => this.#over(kept, false, way.refused));
    const [step] = way.steps as [UpgradeStep, ...UpgradeStep[]];
    this.#begin('upgrade', step.version, (say) => this.#next(kept, wish, step, say));
  }

  #begin(what: 'upgrade' | 'rehearsal', to: string, work: (say: Say) => Promise<void>): void {
    const { log, clock } = this.#options;
    const say: Say = (phase, percent = null) => {
      this.#doing = { what, to, phase: phase.slice(0, 200), percent: percent === null ? null : Math.floor(percent) };
    };
    say('looks at what there is');
    this.#work = work(say)
      .then(
        () => {
          this.#doing = null;
        },
        (error: unknown) => {
          this.#notBefore = clock.bootMs() + timings.againMs;
          // What it waits for is said until it looks again.
          if (error instanceof Waits) return say(error.message);
          this.#doing = null;
          if (!this.#ended.signal.aborted) log.warn(`the ${what} of GitLab is begun anew: ${withFix(error)}`);
        },
      )
      .finally(() => {
        this.#work = null;
      });
  }

  /** All that can be done while GitLab serves; then the container changes. */
  async #next(kept: KeptGitlab, wish: UpgradeWish, step: UpgradeStep, say: Say): Promise<void> {
    const { log, keeper, vault, ledger, clock } = this.#options;
    let tookMs: number | null = null;
    try {
      const now = ledger();
      const why = now === null ? null : whyNoUpgrade(now);
      if (why !== null) throw new Waits(`waits: ${why}`);
      await this.#requireMigrated(kept, say);
      const place = await kept.place(false);
      if (place.kind === 'folder')
        throw refused(
          `its data in ${place.path} are a plain folder, of which no snapshot is kept`,
          'deploy it as root, where a folder on btrfs or an image can be made',
        );
      const tree = treeOf(place);
      const hole = await whyUnprotected([join(tree, 'live'), join(tree, 'bulk')], this.#options.tools);
      if (hole !== null) throw refused(hole, 'then again: autogit-node gitlab upgrade');
      await place.makeRoom(await roomFor(place, this.#options.tools));
      await this.#pull(step, say);
      if (wish.rehearse) ({ tookMs } = await this.#rehearse(kept, step, say));
    } catch (error) {
      if (error instanceof Waits || this.#ended.signal.aborted || isAway(error)) throw error;
      return this.#over(kept, false, `GitLab stays as it is: ${withFix(error)}`);
    }
    if (keeper.replacing.current(kept.hosting.data) !== null) throw new Waits('waits until its data are replaced');
    if (vault.busy !== null) throw new Waits(`waits until the ${vault.busy} is over`);
    if (keeper.kept !== kept || !kept.mayRun) throw new Waits('waits for GitLab to be served');
    const { hosted } = ledger()?.gitlab ?? {};
    if (hosted?.upgrade?.image !== wish.image || hosted.ending) throw new Waits('waits: nobody wishes it any more');
    const { hosting, version } = kept;
    const { data, epoch, image } = hosting;
    const { id: mesh, name: meshName } = ledger()?.mesh ?? { id: '', name: '' };
    const about: About = {
      ...{ form: 1, mesh, meshName, data, epoch, image, version: version as string, at: clock.wallMs() },
      isPinned: true,
    };
    const isLast = step.image === wish.image;
    const because = asSentence(
      `GitLab is ${step.version} (it was ${version}); what was before is kept as replaced-${epoch}`,
    );
    log.info(`GitLab's container becomes ${step.image}`);
    say('its container changes');
    keeper.replacing.ask({
      ...{ backup: step.image, source: upgradingFolder(treeOf(hosting.place)), because, about },
      ...{ image: step.image, imageBefore: image },
      upgrade: { bootLimitMs: bootLimit(tookMs), isLast },
    });
  }

  async #requireMigrated(kept: KeptGitlab, say: Say): Promise<void> {
    const { host, clock, log } = this.#options;
    say('asks for background migrations');
    const own = (await host.find(kept.mesh)).find(
      ({ data, epoch }) => data === kept.hosting.data && epoch === kept.hosting.epoch,
    );
    const left = own === undefined ? null : await backgroundMigrations(host, own.id);
    if (left === null) {
      // Its own start refuses what is not over, and the rehearsal sees that.
      log.warn('GitLab does not say whether its background migrations are over');
      return;
    }
    if (left.failed > 0)
      throw refused(
        `${plural(left.failed, 'background migration')} of GitLab failed, and GitLab goes no further before they are over`,
        'in its admin area under Monitoring, Background migrations: retry them, then the same command again',
      );
    if (left.waiting === 0) {
      this.#waitsSince = null;
      return;
    }
    this.#waitsSince ??= clock.bootMs();
    if (clock.bootMs() - this.#waitsSince > timings.migrationsMs)
      throw refused(
        `${plural(left.waiting, 'background migration')} of GitLab were not over within a day`,
        'in its admin area under Monitoring, Background migrations: look what holds them up',
      );
    throw new Waits(`waits for ${plural(left.waiting, 'background migration')} of GitLab ${kept.version} to end`);
  }

  async #pull({ image }: UpgradeStep, say: Say): Promise<void> {
    const { host } = this.#options;
    const { signal } = this.#ended;
    say(`pulls the image ${image}, GitLab serves`);
    const onProgress = (done: number, total: number): void =>
      say(`pulls the image ${image}, GitLab serves`, total === 0 ? null : (done / total) * 100);
    const found = await host.image(image, { pull: true, onProgress, signal });
    const { arch } = await host.check();
    if (found !== null && found.arch !== arch)
      throw refused(
        `image ${image} is for ${found.arch}, and this machine is ${arch}`,
        'name an image for this kind of machine: autogit-node gitlab upgrade --image IMAGE',
      );
  }

  async #rehearse(kept: KeptGitlab, { image }: UpgradeStep, say: Say): Promise<{ tookMs: number; migrations: number }> {
    const { clones, meshToken, tools } = this.#options;
    if (clones.purpose !== null) throw new Waits(`waits until the clone is gone: ${clones.purpose}`);
    const place = await kept.place(false);
    const tree = treeOf(place);
    const { signal } = this.#ended;
    const roomBytes = await roomFor(place, this.#options.tools);
    const limitMs = timings.longestBootMs;
    try {
      return await rehearse({ clones, kept, place, image, roomBytes, limitMs, token: meshToken(), signal, say, tools });
    } catch (error) {
      // On the clone it would come to no end the next time either, and each time takes a boot.
      const isLate = error instanceof AutogitError && error.code === 'timed-out';
      throw isLate ? refused(`on the clone: ${error.message}`, 'look what holds it up: autogit-node logs') : error;
    } finally {
      await dropFolder(rehearsingFolder(tree), tools).catch((error: unknown) =>
        this.#options.log.warn(`what is left of a rehearsal does not go: ${sentenceOf(error)}`),
      );
    }
  }

  async #over({ hosting }: KeptGitlab, isDone: boolean, sentence: string): Promise<void> {
    const { change, log } = this.#options;
    const { data, epoch } = hosting;
    const because = asSentence(sentence);
    const told = await change({ kind: 'gitlab-upgrade-ended', data, epoch, isDone, because });
    if (told.state !== 'done') throw new AutogitError('no-leader', `the mesh does not take it: ${told.because}`);
    log[isDone ? 'info' : 'warn'](`the upgrade of GitLab is over: ${because}`);
  }
}

const bootLimit = (tookMs: number | null): number =>
  tookMs === null
    ? timings.longestBootMs
    : Math.min(timings.longestBootMs, Math.max(gitlabTimings.hardBootMs, 4 * tookMs));

/** Neither says anything of the upgrade. */
const isAway = (error: unknown): boolean =>
  error instanceof AutogitError && ['no-docker', 'no-leader', 'timed-out'].includes(error.code);

const refused = (sentence: string, hint: string): AutogitError => new AutogitError('upgrade', sentence, { hint });
