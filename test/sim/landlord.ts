import type { Change } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { Chance } from './chance.ts';
import type { World } from './world.ts';

/** Who decides where the mesh's own GitLab runs: deploys it, takes it down, and gives machines up that host it. */
export class Landlord {
  readonly #world: World;
  /** Asks a member that can hear a person; nothing where there is none. */
  readonly #ask: (change: (ledger: Ledger) => Change) => void;
  /** Uninstalls that may still happen: not answered yet, not in time, or by an agent that has died meanwhile. */
  readonly #open = new Set<Change>();
  #deployments = 0;
  #isAsking = false;
  /** Until then GitLab's host is missed, and nobody has other wishes. */
  #restsUntil = 0;
  #chance: Chance | null = null;

  constructor(world: World, ask: (change: (ledger: Ledger) => Change) => void) {
    this.#world = world;
    this.#ask = ask;
  }

  /** Drawn only where a mesh hosts: all other worlds stay as they were. */
  get #dice(): Chance {
    this.#chance ??= new Chance(this.#world.machineIds().length * 7919 + Math.floor(this.#world.now));
    return this.#chance;
  }

  /**
   * A mesh that was recovered by force goes by a ledger of before its GitLab's data were replaced: they are of a later epoch than the
   * ledger knows, and not served. Its log says what helps.
   */
  helpOn(): void {
    const { mode, host, epoch, hosted } = this.#top?.gitlab ?? {};
    if (mode !== 'hosted' || hosted?.ending || !this.#world.hasMachine(host ?? '')) return;
    const machine = this.#world.machine(host!);
    const closed = this.#world.gates.closedEpoch(machine);
    if (closed >= epoch! && (this.#top?.era.counter ?? 0) > 0) this.#uninstall(null);
  }

  rests(ms: number): void {
    this.#restsUntil = this.#world.now + ms;
  }

  /** As often as it is not there; and looked at for as long as an uninstall of before may still take it away. */
  deploy(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    if (!this.#world.options.stage) this.#setGraces();
    this.#askForOne();
    this.#lookAgain();
  }

  #lookAgain(): void {
    this.#world.timeline.after(1000, () => {
      const { gitlab } = this.#top ?? {};
      const isGone = gitlab?.mode !== 'hosted' || gitlab.hosted?.ending !== undefined;
      this.#isAsking = isGone || this.#open.size > 0;
      if (isGone) this.#askForOne();
      if (this.#isAsking) this.#lookAgain();
    });
  }

  #askForOne(): void {
    const { stage } = this.#world.options;
    // Of a story that is told all are to be there, and nobody throws dice.
    if (stage && Object.keys(this.#top?.nodes ?? {}).length < stage.names.length) return;
    this.#ask(({ nodes }) => {
      this.#deployments += 1;
      const host = stage ? this.#world.machineIds()[0]! : this.#dice.pick(Object.keys(nodes));
      return {
        kind: 'deploy-gitlab',
        host,
        agreed: Object.keys(nodes).filter((node) => node !== host && (stage || this.#dice.maybe(0.5))),
        hosted: {
          data: `gitlab-${String(this.#deployments).padStart(4, '0')}`,
          image: 'gitlab/gitlab-ce:17.5.1-ce.0',
          preset: 'homelab',
          place: { kind: 'folder', path: '/srv/gitlab' },
          hostname: 'gitlab.lab',
          port: 8929,
          sshPort: null,
        },
        because: 'a person asked',
      };
    });
  }

  get #top(): Ledger | undefined {
    return this.#world.history.top?.ledger;
  }

  /** Again and again it shall be elsewhere: uninstalled, now and then with the host given up in that moment. */
  move(untilMs: number): void {
    const { timeline, now } = this.#world;
    if (now > untilMs) return;
    timeline.after(this.#dice.spread(500, 6000), () => {
      if (this.#world.now > untilMs || this.#world.faults.isHealed) return;
      const { gitlab } = this.#top ?? {};
      const isLeft = this.#world.now >= this.#restsUntil;
      if (isLeft && gitlab?.mode === 'hosted' && !gitlab.hosted?.ending) this.#meddle(gitlab);
      this.move(untilMs);
    });
  }

  #meddle({ host, epoch, hosted, url }: Ledger['gitlab']): void {
    if (this.#dice.maybe(0.3)) this.#startOneOfBefore();
    const inSync = hosted?.copies?.set.members.length ?? 0;
    if (host !== null && url !== null && this.#dice.maybe(inSync > 0 ? 0.5 : 0.1)) return this.#loseHost(host);
    if ((url === null || inSync > 0) && this.#dice.maybe(0.5)) return;
    const standbys = hosted?.copies?.standbys ?? [];
    const again = hosted?.moved?.isDone ? 0.8 : 0.6;
    if (url !== null && standbys.length > 0 && this.#dice.maybe(again))
      return this.#moveTo(this.#dice.pick(standbys).node);
    // A backup is put in its place.
    if (url !== null && hosted && !hosted.move && this.#dice.maybe(0.4))
      this.#world.machine(host ?? '').hosted.restoring = { data: hosted.data, epoch };
    else this.#uninstall(host ?? null);
  }

  /** Alone, with the leader, or with all; it comes back last, or before anybody has missed it. */
  #loseHost(host: string): void {
    const { timeline, rare, faults } = this.#world;
    const leader = this.#world.leaderNow();
    const kind = this.#dice.pick(['host', 'host', 'leader too', 'all'] as const);
    const lost = kind === 'all' ? this.#world.machineIds() : kind === 'leader too' && leader ? [host, leader] : [host];
    rare.saw(
      kind === 'all'
        ? 'all machines lost their power at once'
        : lost.length > 1
          ? 'host of GitLab and leader lost their power at once'
          : 'host of GitLab lost its power',
    );
    this.#restsUntil = this.#world.now + this.#dice.spread(5000, 15_000);
    // Whom the others have not heard since they are back has half a minute more than the grace: in some nights it is away for longer.
    const isLong = kind === 'all' && this.#dice.maybe(0.3);
    const hostBackMs = isLong ? this.#dice.spread(40_000, 60_000) : this.#dice.spread(4000, 30_000);
    if (isLong) {
      this.#restsUntil = this.#world.now + hostBackMs;
      faults.rest(hostBackMs);
    }
    for (const id of new Set(lost)) {
      if (!this.#world.hasMachine(id)) continue;
      this.#world.powerOff(id);
      const back = id === host ? hostBackMs : this.#dice.spread(300, 3000);
      timeline.after(back, () => {
        if (!faults.isHealed) this.#world.bringBack(this.#world.machine(id));
      });
    }
  }

  /** Now and then somebody would have it move sooner, or later. */
  #setGraces(): void {
    const short = this.#dice.pick([0, 0, 2000, 6000]);
    const long = Math.max(short, this.#dice.pick([3000, 8000]));
    this.#ask(() => ({ kind: 'set', key: 'failover', value: true }));
    this.#ask(() => ({ kind: 'set', key: 'inSyncGraceMs', value: short }));
    this.#ask(() => ({ kind: 'set', key: 'graceMs', value: long }));
  }

  /** Asked of whatever GitLab there is by then; the agent on either machine may die over it. */
  #moveTo(to: string): void {
    this.#ask(({ gitlab }) => {
      const { data = 'no-gitlab' } = gitlab.hosted ?? {};
      const there = { place: { kind: 'image' as const, path: `/srv/copies-${to}` }, hostname: `${to}.lab` };
      return { kind: 'move-gitlab', data, epoch: Math.max(1, gitlab.epoch), to, there, because: 'a person asked' };
    });
    if (this.#dice.maybe(0.8)) this.#strikeOnTrial(to, this.#world.now + 30_000);
    for (const node of [to, this.#top?.gitlab.host ?? to]) {
      if (!this.#dice.maybe(0.3)) continue;
      this.#world.timeline.after(this.#dice.spread(100, 4000), () => {
        const isThere = this.#world.agentOf(node) !== undefined;
        if (this.#world.faults.isHealed || !isThere) return;
        this.#world.rare.saw('agent killed over a planned move');
        this.#world.killAgent(node);
        this.#world.timeline.after(this.#dice.spread(100, 3000), () => this.#world.startAgent(node));
      });
    }
  }

  /**
   * Where it moved to, in the moment that is worth a fault: its gate was closed as it is given up, or it is about to be said to stand.
   * The agent is killed, or its word is long on its way.
   */
  #strikeOnTrial(to: string, untilMs: number): void {
    this.#world.timeline.after(20, () => {
      if (this.#world.now > untilMs || this.#world.faults.isHealed) return;
      const { host, epoch = 0, hosted } = this.#top?.gitlab ?? {};
      const isThere = hosted?.move?.to === to && host === to && this.#world.agentOf(to) !== undefined;
      const machine = this.#world.machine(to);
      const { moving } = machine.hosted;
      const isSaid = isThere && moving?.epoch === epoch && moving.isSaid === true;
      const isShut = isThere && this.#world.gates.isClosed(machine, this.#top?.era.id ?? '', epoch);
      if (!isSaid && !isShut) return this.#strikeOnTrial(to, untilMs);
      if (isSaid) {
        this.#world.rare.saw('word of a planned move long on its way');
        return this.#cutOff(to, this.#dice.spread(1500, 6000));
      }
      this.#world.rare.saw('agent killed over a planned move');
      this.#world.killAgent(to);
      this.#world.timeline.after(this.#dice.spread(100, 1500), () => this.#world.startAgent(to));
    });
  }

  #cutOff(one: string, ms: number): void {
    const { nemesis } = this.#world.faults;
    for (const other of this.#world.machineIds().filter((id) => id !== one)) {
      nemesis.cut(one, other, ms);
      nemesis.cut(other, one, ms);
    }
  }

  /** By hand, by a tool that keeps images new, by an engine that was restored: labels and data are those of before. */
  #startOneOfBefore(): void {
    const hosts = this.#world.machines().filter(({ power, hosted }) => power === 'on' && hosted.past.length > 0);
    if (hosts.length === 0) return;
    const { hosted, id } = this.#dice.pick(hosts);
    const old = this.#dice.pick(hosted.past);
    if ([...hosted.services.values()].some(({ data, epoch }) => data === old.data && epoch === old.epoch)) return;
    this.#world.rare.saw('container of before started by hand');
    hosted.begin({ ...old, host: id }, 0);
    this.#world.agentOf(id)?.later(() => this.#world.agentOf(id)?.host.tend());
  }

  #uninstall(host: string | null): void {
    const { timeline } = this.#world;
    const now = this.#dice.maybe(0.7);
    this.#ask(({ gitlab }) => {
      const meant = gitlab.mode === 'hosted' && { epoch: gitlab.epoch };
      const change: Change = { kind: 'uninstall-gitlab', deleteData: this.#dice.maybe(0.5), now, force: now, ...meant };
      this.#open.add(change);
      return change;
    });
    timeline.after(this.#dice.spread(1000, 4000), () => this.deploy());
    if (host !== null && this.#dice.maybe(0.5)) this.#giveUp(host);
  }

  /** What was asked was answered: done, or refused. */
  settled(change: Change): void {
    this.#open.delete(change);
  }

  /** Its agent is dead, and its gate lives on for what is left of its lease: nobody there says that it is closed. */
  #giveUp(host: string): void {
    const { timeline, people } = this.#world;
    const giveUp = (): void => {
      if (this.#world.faults.isHealed || this.#world.machine(host).disk.isEmpty) return;
      if (this.#dice.maybe(0.7)) this.#world.killAgent(host);
      if (!people.forget(host)) return this.#world.startAgent(host);
      timeline.after(this.#dice.spread(3000, 12_000), () => people.takeBack(host));
    };
    timeline.after(this.#dice.spread(1, 100), giveUp);
  }
}
