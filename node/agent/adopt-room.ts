import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AdoptWish, Answer, Ask } from '../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Attention } from '../../protocol/status.ts';
import { whyNotDeploy } from '../../scheduler/hosting/hosted-edits.ts';
import type { Clock } from '../clock.ts';
import { adoptFacts, environmentOf } from '../hosting/adopt/adopt-facts.ts';
import { adoptPlan } from '../hosting/adopt/adopt-plan.ts';
import { adoptedPlace } from '../hosting/adopt/adopted-place.ts';
import { AdoptionJournal } from '../hosting/adopt/adoption-journal.ts';
import { GitlabAdopter } from '../hosting/adopt/gitlab-adopter.ts';
import { graceMs, oldContainer } from '../hosting/adopt/old-container.ts';
import { adoptRefusal, asChecks, checkOf } from '../hosting/deploy-check.ts';
import { deployFacts } from '../hosting/deploy-facts.ts';
import { preflight } from '../hosting/deploy-preflight.ts';
import type { GitlabLife } from '../hosting/gitlab-state.ts';
import { presets } from '../hosting/presets.ts';
import { namedContainer } from '../hosting/protect/protected-container.ts';
import type { ServiceHost } from '../hosting/service-host.ts';
import type { Log } from '../log.ts';
import { findGitlabHere, parkedSuffix } from '../machine/gitlab-here.ts';
import { omnibusContainers } from '../machine/omnibus-containers.ts';
import { hostAddress } from './hosting-answers.ts';
import { isOfRegaining, type RegainAsk, RegainRoom } from './regain-room.ts';

interface AdoptSources {
  nodeId: NodeId;
  home: string;
  dockerHost: string | null;
  clock: Clock;
  log: Log;
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  network: { addresses(): string[] };
}

export type AdoptAsk = RegainAsk | (Ask & { kind: 'check-adopt' | 'begin-adopt' | 'adoption' });
export const isOfAdopting = (ask: Ask): ask is AdoptAsk =>
  isOfRegaining(ask) || ask.kind === 'check-adopt' || ask.kind === 'begin-adopt' || ask.kind === 'adoption';

type Begun = Parameters<GitlabAdopter['begin']>[0];

/** How long it is said that a container was brought back. */
const saidMs = 86_400_000;

/** What a person's container becomes the mesh's GitLab by, on this machine. */
export class AdoptRoom {
  readonly #sources: AdoptSources;
  readonly #adopter: GitlabAdopter;
  readonly #regain: RegainRoom;
  readonly #end = new AbortController();

  /** `life`: of the GitLab with these data, where this machine looks after it. */
  constructor(sources: AdoptSources, host: Pick<ServiceHost, 'stop'>, life: (data: string) => GitlabLife | null) {
    this.#sources = sources;
    this.#regain = new RegainRoom(sources);
    const { nodeId: self, home, dockerHost, clock, log, ledger, change } = sources;
    this.#adopter = new GitlabAdopter({
      ...{ self, clock, log, ledger, change, life },
      journal: new AdoptionJournal(home),
      pause: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined),
      old: oldContainer(dockerHost, clock, host),
      place: adoptedPlace({
        home,
        mesh: () => this.#mesh,
        environmentOf: (id) => environmentOf(dockerHost, id),
        signal: this.#end.signal,
      }),
    });
  }

  start(): void {
    this.#adopter.start();
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.#adopter.stop();
  }

  /** One that is being stopped cannot be started before it has: until then its agent waits, or GitLab would stand still until there is another. */
  async removed(limitMs: number): Promise<void> {
    const isStopping = this.#adopter.current()?.adoption.step === 'parking';
    const ms = isStopping ? limitMs + graceMs : limitMs;
    await Promise.race([this.#adopter.removed(), sleep(ms, undefined, { ref: false })]);
  }

  mayServe(data: string): boolean {
    return this.#adopter.mayServe(data);
  }

  /** What keeps its GitLab from going elsewhere; null: nothing. */
  get busy(): string | null {
    const step = this.#adopter.current()?.adoption.step;
    return step === undefined || step === 'done' || step === 'returned'
      ? null
      : 'it is being taken over from its container';
  }

  async answer(ask: AdoptAsk): Promise<Answer> {
    if (isOfRegaining(ask)) return this.#regain.answer(ask);
    if (ask.kind === 'adoption') return this.#seen();
    if (ask.kind === 'begin-adopt') this.#adopter.refuseAnother();
    const since = this.#adopter.current()?.adoption ?? null;
    const { checks, found, begun } = await this.#look(ask.wish);
    if (ask.kind === 'check-adopt') return { kind: 'adopt-checked', checks, found };
    const failed = checks.find(({ state }) => state === 'fail');
    if (failed || begun === null)
      throw new AutogitError('unsupported', failed?.sentence ?? 'no container of a GitLab was found', {
        ...(failed?.fix && { hint: failed.fix }),
      });
    this.#adopter.begin(begun, since);
    return { kind: 'said', because: asSentence(`container ${begun.container.name} is being taken over`) };
  }

  attention(): Attention[] {
    const current = this.#adopter.current();
    const { unreadable } = this.#adopter;
    if (unreadable !== null)
      return [
        {
          ...{ code: 'gitlab-adopting', severity: 'fail' },
          sentence: asSentence(unreadable),
          fix: 'see whether a container stands still by it: docker ps -a',
        },
      ];
    if (current === null) return [];
    const { adoption, phase, problem } = current;
    const { name } = adoption.container;
    if (adoption.step === 'done' || (adoption.step === 'served' && problem === null)) return [];
    if (adoption.step === 'served')
      return [
        {
          ...{ code: 'gitlab-adopting', severity: 'warn' },
          sentence: asSentence(
            `GitLab of container ${name} is the mesh's and serves; what is left of taking it over does not end: ${problem}`,
          ),
          fix: 'it is tried again by itself: autogit-node gitlab adopt',
        },
      ];
    if (adoption.step !== 'returned')
      return [
        {
          code: 'gitlab-adopting',
          severity: problem === null ? 'warn' : 'fail',
          sentence: asSentence(
            `GitLab of container ${name} is being taken over and is away: ${phase ?? adoption.step}${problem === null ? '' : `; ${problem}`}`,
          ),
          fix: 'autogit-node gitlab adopt',
        },
      ];
    if (this.#sources.clock.wallMs() - adoption.at > saidMs) return [];
    return [
      {
        code: 'gitlab-adopt-returned',
        severity: 'warn',
        sentence: asSentence(
          `GitLab of container ${name} was not taken over, and it is as it was: ${adoption.because}`,
        ),
        fix: 'once that is mended: autogit-node gitlab adopt',
      },
    ];
  }

  #seen(): Answer {
    const current = this.#adopter.current();
    if (current === null)
      return {
        kind: 'adoption',
        state: 'none',
        phase: 'none was begun',
        percent: null,
        because: 'none was begun here',
        problem: null,
      };
    const { adoption, phase, percent, problem } = current;
    const states = { done: 'served', returned: 'returned' } as const;
    return {
      kind: 'adoption',
      state: adoption.step === 'done' || adoption.step === 'returned' ? states[adoption.step] : 'under-way',
      phase: asSentence(phase ?? adoption.step),
      percent,
      because: asSentence(adoption.because),
      problem: problem === null ? null : asSentence(problem),
    };
  }

  get #mesh(): string {
    return this.#sources.ledger()?.mesh.id ?? '';
  }

  async #look(
    wish: AdoptWish,
  ): Promise<Omit<Extract<Answer, { kind: 'adopt-checked' }>, 'kind'> & { begun: Begun | null }> {
    const { home, dockerHost, ledger, nodeId: self, network } = this.#sources;
    const refused = (sentence: string, fix: string | null, what = 'container') => ({
      ...{ checks: [checkOf('fail', what, sentence, fix)], found: null, begun: null },
    });
    try {
      const known = ledger();
      const why = known && whyNotDeploy(known, self);
      if (why !== null) {
        const { what, sentence, fix } = adoptRefusal(why);
        return refused(sentence, fix, what);
      }
      const all = await omnibusContainers(dockerHost, ({ name }) => name === wish.container);
      const meant = namedContainer(wish.container, all);
      if ('refused' in meant) return await this.#none(meant, refused);
      const one = meant.container;
      const { facts, restart } = await adoptFacts(one, wish.data ?? join(home, 'gitlab'), dockerHost);
      const { checks, planned } = adoptPlan(facts);
      if (planned === null) return { checks, found: null, begun: null };
      const { port, sshPort, needBytes, awayMs } = planned;
      const seen = await deployFacts(
        { image: one.image, port, sshPort, data: wish.data },
        { home, mesh: this.#mesh, dockerHost },
      );
      const { leastMemoryBytes, leastDiskBytes } = presets[wish.preset];
      const { checks: more, place } = preflight(
        // Ports and memory that it has itself are free once it stands still.
        {
          ...seen,
          ...(one.isRunning && { taken: [], availableMemoryBytes: seen.totalMemoryBytes }),
          gitlabs: [],
        },
        {
          ...wish,
          image: one.image,
          port,
          sshPort,
          leastMemoryBytes,
          leastDiskBytes: Math.max(leastDiskBytes, needBytes),
        },
      );
      const isTaken = place !== null && place.data !== null;
      const taken = isTaken
        ? [
            checkOf(
              'fail',
              'place',
              `${place.path} holds the data of the GitLab that was here`,
              'name an empty folder: --data DIR',
            ),
          ]
        : [];
      // What was said of both is said once.
      const lines = [
        ...checks,
        ...asChecks(more.filter(({ what, state }) => what !== 'ports' || state === 'fail')),
        ...taken,
      ];
      if (place === null || lines.some(({ state }) => state === 'fail'))
        return { checks: lines, found: null, begun: null };
      const hostname = wish.hostname ?? hostAddress(network.addresses());
      const data = randomBytes(6).toString('hex');
      const name = `${one.name.slice(0, 100)}${parkedSuffix}`;
      const parked = all.some((other) => other.name === name) ? `${name}-${data.slice(0, 6)}` : name;
      return {
        checks: lines,
        found: { container: one.name, image: one.image, hostname, port, folder: place.path, awayMs },
        begun: {
          container: { id: one.id, name: one.name, parked, restart, wasRunning: one.isRunning },
          folders: [...facts.folders],
          ...{ dataBytes: facts.dataBytes, needBytes },
          hosted: {
            ...{ data, image: one.image, preset: wish.preset, port, sshPort, hostname },
            place: { kind: place.kind, path: place.path },
          },
        },
      };
    } catch (error) {
      if (!(error instanceof AutogitError)) throw error;
      return refused(error.message, error.hint);
    }
  }

  /** A GitLab of the Linux package is another matter. */
  async #none<T>(
    { refused, fix }: { refused: string; fix: string },
    say: (sentence: string, fix: string) => T,
  ): Promise<T> {
    const here = await findGitlabHere(this.#sources.dockerHost);
    const ofPackage = here.find(({ container }) => container === null);
    const hasContainer = here.some(({ container }) => container !== null);
    if (ofPackage === undefined || hasContainer) return say(refused, fix);
    return say(
      'GitLab is installed here as a package: the mesh hosts what runs in a container, and connects to this one',
      `autogit-node gitlab connect ${ofPackage.url ?? 'URL'} --token-env VAR`,
    );
  }
}
