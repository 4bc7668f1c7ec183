import { rmSync } from 'node:fs';
import { asSentence, type NodeId } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import type { BesideSeen } from '../../../protocol/report.ts';
import { roundText } from '../../../protocol/round-name.ts';
import {
  type Beside,
  type BesideWish,
  besideOf,
  besideTimings,
  besideTurn,
  besideWaitMs,
  neverWords,
  whyEndBeside,
  whyNotThat,
} from '../../../scheduler/hosting/beside-rules.ts';
import { addressThere, type HostedAddress, type Hosting, hostedUrl } from '../../../scheduler/hosting/hosted-edits.ts';
import type { ViewInput } from '../../../scheduler/snapshot-view.ts';
import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import { cloneFolder } from '../clone/clone-tree.ts';
import type { GitlabClone, GitlabClones } from '../clone/gitlab-clones.ts';
import type { Drillable } from '../drill/drill-master.ts';
import { gitlabTimings } from '../gitlab-state.ts';
import { treeOf } from '../place-tree.ts';
import { putHooks, quietFile, wakingFile } from '../push/push-hook.ts';
import { replaceFile, systemTools } from '../system-tools.ts';
import { withFix } from '../with-fix.ts';
import type { BesidePort, ReadyClone } from './ready-clone.ts';

interface BootBesideOptions {
  self: NodeId;
  home: string;
  clock: Pick<Clock, 'bootMs' | 'wallMs'>;
  log: Pick<Log, 'info' | 'warn'>;
  wish: BesideWish;
  ledger(): Ledger | null;
  view(): ViewInput | null;
  clones: Pick<GitlabClones, 'start' | 'purpose' | 'sweep'>;
  /** Null where this machine holds no copy. */
  drillable(): Drillable | null;
  /** How others reach this machine. */
  at(): Pick<HostedAddress, 'hostname' | 'ipv6'>;
}

const timings = { lookMs: 500 } as const;
/** A boot writes some hundred megabytes. */
const roomBytes = 1 << 30;

interface Running {
  readonly beside: Beside;
  readonly folder: string;
  readonly sinceWallMs: number;
  readonly stop: AbortController;
  clone: GitlabClone | null;
  isUp: boolean;
  /** Why it is thrown away. */
  because: string | null;
  over: Promise<void>;
}

/**
 * GitLab, booted on this machine while its host is silent and its grace runs: on a clone of the newest round here, without network, its
 * queue standing still. Goes GitLab on here with that very round, the keeper takes it in; in any other case nothing of it stays.
 * Nothing that fails here ends the agent, or keeps GitLab from being booted as ever.
 */
export class BootBeside implements BesidePort {
  readonly #options: BootBesideOptions;
  #timer: NodeJS.Timeout | null = null;
  #running: Running | null = null;
  #isStopped = false;
  /** Boots for nothing in a row, by boot time of the last. */
  #vain = { count: 0, at: Number.NEGATIVE_INFINITY, because: '' };
  #waits: string | null = null;

  constructor(options: BootBesideOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), timings.lookMs);
  }

  /** Nothing of it is left when it returns. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#timer) clearInterval(this.#timer);
    await this.#end('its agent ends', false);
  }

  /** What was booted here for this is kept from then on, before anybody else gives up what this machine held of it. */
  ledgerChanged(): void {
    this.#look();
  }

  /** What the mesh is told. */
  seen(): { beside: BesideSeen } {
    const { beside, sinceWallMs, isUp } = this.#running ?? {};
    if (beside === undefined || sinceWallMs === undefined) {
      const waits = this.#options.wish === 'never' ? neverWords : this.#waits;
      return { beside: { round: null, since: null, isUp: false, waits } };
    }
    return { beside: { round: beside.round, since: sinceWallMs, isUp: isUp === true, waits: null } };
  }

  /** Its container has begun, and has its memory. */
  get hasBooted(): boolean {
    return this.#running !== null && this.#running.clone !== null;
  }

  ready(hosting: Hosting): ReadyClone | null {
    const { self, ledger } = this.#options;
    const running = this.#running;
    if (running === null || running.clone === null || running.because !== null) return null;
    const known = ledger();
    const isNow = known?.gitlab.epoch === hosting.epoch && known.gitlab.hosted?.data === hosting.data;
    if (!isNow || whyNotThat(running.beside, known, self) !== null) return null;
    running.clone.keep();
    return { id: running.clone.id, folder: running.folder };
  }

  async taken(): Promise<void> {
    const running = this.#running;
    this.#running = null;
    this.#vain = { ...this.#vain, count: 0 };
    await running?.clone?.taken();
  }

  async none({ place }: Hosting): Promise<void> {
    const { clones, ledger, home } = this.#options;
    await this.#end('GitLab is booted anew', true);
    // Of an agent that was killed: it would write to the data with which GitLab starts now.
    if (clones.purpose === null && place.kind !== 'folder') await clones.sweep(ledger()?.mesh.id ?? '', place);
    for (const file of [quietFile(home), wakingFile(home)]) rmSync(file, { force: true });
  }

  #look(): void {
    const { view: read, drillable, wish, clock } = this.#options;
    const view = read();
    if (view === null || this.#isStopped) return;
    const running = this.#running;
    if (running !== null) {
      const end = whyEndBeside(view, wish, running.beside, drillable()?.round ?? null);
      if (end !== null) void this.#end(end.because, end.isVain);
      else if (view.ledger?.gitlab.host === view.self) running.clone?.keep();
      return;
    }
    const target = drillable();
    const turn = target?.round == null ? null : besideTurn(view, wish);
    const sinceVainMs = clock.bootMs() - this.#vain.at;
    if (sinceVainMs >= besideTimings.calmMs) this.#vain = { ...this.#vain, count: 0 };
    const waitMs = besideWaitMs(this.#vain.count) - sinceVainMs;
    const isFlapping = waitMs > 0 ? `it was for nothing a moment ago: ${this.#vain.because}` : null;
    this.#waitsFor(turn === null ? null : (turn.because ?? isFlapping));
    if (turn === null || turn.because !== null || waitMs > 0 || target === null) return;
    // A drill that is under way ends by itself at such a silence.
    if (this.#options.clones.purpose !== null) return;
    this.#begin(target, view.ledger as Ledger);
  }

  #waitsFor(why: string | null): void {
    if (why !== null && asSentence(why) !== this.#waits)
      this.#options.log.info(`GitLab is not booted here beforehand, while its host is silent: ${why}`);
    this.#waits = why === null ? null : asSentence(why);
  }

  #begin(target: Drillable, ledger: Ledger): void {
    const { clock, log } = this.#options;
    const { hosting, place, round } = target;
    const { ipv6: _there, ...rest } = hosting;
    const next: Hosting = { ...rest, ...addressThere(hosting, this.#options.at()) };
    const beside = besideOf(ledger, next, round!);
    const running: Running = {
      ...{ beside, folder: cloneFolder(treeOf(place)), sinceWallMs: clock.wallMs(), stop: new AbortController() },
      ...{ clone: null, isUp: false, because: null, over: Promise.resolve() },
    };
    this.#running = running;
    log.info(
      `GitLab is booted here while its host is silent, without network, on a clone of round ${roundText(round!)}`,
    );
    running.over = this.#boot(running, target, next).catch((error: unknown) => {
      // Once it was taken in it is no clone any more, up or not: nobody waits for it here.
      if (this.#running !== running) return;
      // Of a place that is the host's by now there are no clones: GitLab is booted as ever, which says itself what is wrong.
      if (this.#options.ledger()?.gitlab.host === this.#options.self)
        log.info('GitLab goes on here before what was booted beforehand has begun: it is booted anew');
      else if (running.because === null) log.warn(`GitLab cannot be booted here beforehand: ${withFix(error)}`);
      // What began it all is still so: not again at once.
      void this.#end(withFix(error), true);
    });
  }

  async #boot(running: Running, { place, source }: Drillable, next: Hosting): Promise<void> {
    const { clones, home, ledger, log } = this.#options;
    const { signal } = running.stop;
    const { data, image, preset, hostname, sshPort } = next;
    const hooks = await putHooks(home);
    await replaceFile(quietFile(home), '', systemTools);
    running.clone = await clones.start(
      {
        ...{ mesh: ledger()?.mesh.id ?? '', data, purpose: 'boot beside', place, source, image, preset },
        ...{ url: hostedUrl(next), roomBytes, isPolite: false },
        serves: { epoch: running.beside.next, hostname, sshPort, hooks },
      },
      { signal },
    );
    const tookMs = await running.clone.untilItWorks(gitlabTimings.hardBootMs);
    running.isUp = true;
    log.info(
      `GitLab is up here after ${Math.round(tookMs / 1000)} s, without network: it serves if its host stays silent`,
    );
  }

  /** Container and clone are gone when it returns. */
  async #end(because: string, isVain: boolean): Promise<void> {
    const running = this.#running;
    if (running === null) return;
    if (running.because !== null) return running.over;
    const { log, home, clock } = this.#options;
    running.because = because;
    if (isVain) this.#vain = { count: this.#vain.count + 1, at: clock.bootMs(), because };
    running.stop.abort();
    const begun = running.over;
    running.over = (async () => {
      await begun.catch(() => undefined);
      await running.clone?.end();
      rmSync(quietFile(home), { force: true });
      if (this.#running === running) this.#running = null;
      log.info(`what was booted of GitLab beforehand is thrown away: ${because}`);
    })();
    return running.over;
  }
}
