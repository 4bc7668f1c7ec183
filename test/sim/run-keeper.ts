import { leaseLimits } from '../../node/runs/run-lease.ts';
import type { Run } from '../../protocol/ledger.ts';
import { sharedTimings } from '../../protocol/timings.ts';
import type { EffectOf } from '../../scheduler/effects.ts';
import type { TakeOutcome } from '../../scheduler/inputs.ts';
import { runContactAt } from '../../scheduler/views.ts';
import type { Agent } from './agent.ts';
import { Container } from './container.ts';
import { isNoAnswer, projectId } from './gitlab.ts';
import { sealed, unsealed } from './gitlab-effects.ts';
import { demandOfTags, type SimClaim } from './sim-demand.ts';
import type { World } from './world.ts';

const beatMs = 250;
const keepAliveMs = 500;
const quietUpdateMs = 30_000;
const nothingLeft = 'the agent of this node was restarted and nothing of the run is left';

const failed = (because: string): NonNullable<Run['result']> => ({
  state: 'failed',
  exitCode: null,
  reason: 'runner_system_failure',
  because,
});

/** One job of eight does not come to its script on a machine that others have no trouble with; not drawn, so that all else stays as it was. */
const failsHere = (root: number, machine: string): boolean =>
  (root + [...machine].reduce((sum, char) => sum + char.charCodeAt(0), 0)) % 8 === 0;

/**
 * The node's own side of its runs, in the order of SAFETY J4: POST, job on disk, tell, `started` on disk, container,
 * result on disk, PUT until GitLab has it. It dies with its agent; the next one adopts what is on disk and in containers.
 */
export class RunKeeper {
  readonly #world: World;
  readonly #agent: Agent;
  readonly #runs = new Map<string, Run>();
  readonly #delivering = new Set<string>();
  readonly #asked = new Map<string, number>();
  /** What is promised on this machine, for the check of its room: by grant while asking, by run from then on. */
  readonly claims = new Map<string, SimClaim>();
  #isStopped = false;

  constructor(world: World, agent: Agent) {
    this.#world = world;
    this.#agent = agent;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** After a start: every record on disk is told, and goes on from where it stands. */
  adopt(): void {
    const { machine } = this.#agent;
    for (const run of machine.disk.loadRuns()) {
      this.#runs.set(run.run, run);
      if (run.state !== 'finished') this.claims.set(run.grant, { demand: demandOfTags(run.tags), gpus: run.gpus });
      this.#agent.feed({ kind: 'run-changed', run });
      const container = machine.containers.get(run.run);
      if (run.state === 'finished') this.#deliver(run.run);
      else if (run.state === 'taken' && !container) this.#beginIfOurs(run);
      else if (container) this.#hold(run, container);
      else this.#ended(run.run, failed(nothingLeft), { kind: 'machine', begun: true });
    }
    for (const [id, container] of machine.containers) if (!this.#runs.has(id)) container.destroy('no record of it');
    this.#beat();
  }

  take(effect: EffectOf<'take-job'>): void {
    const { gitlab, figures } = this.#world;
    const { machine } = this.#agent;
    gitlab.call(
      machine.id,
      () => gitlab.request(unsealed(effect.token), machine.id),
      (answer) =>
        this.#later(() => {
          const takenAt = machine.bootMs();
          const { grant } = effect;
          const end = (outcome: TakeOutcome): void => {
            if (outcome.kind !== 'taken') this.claims.delete(grant);
            this.#agent.feed({ kind: 'take-ended', grant, outcome });
          };
          if (isNoAnswer(answer)) {
            if (answer.reached) figures.add('takes unanswered');
            const { because, reached } = answer;
            return end({ kind: 'failed', because, maybeTaken: reached });
          }
          if (answer === 'none') return end({ kind: 'empty', because: 'GitLab had no job' });
          if (answer === 'forbidden')
            return end({ kind: 'failed', because: '403', maybeTaken: false, unknownRunner: true });
          const run = this.#record(effect, answer.id, answer.token);
          this.#save(run, () => {
            figures.add('jobs taken');
            end({ kind: 'taken', run });
            // The leader shall know before the script begins, but it is not waited for long (J4).
            this.#world.timeline.after(this.#world.chance.spread(5, 1000), () =>
              this.#later(() => this.#begin(run, takenAt)),
            );
          });
        }),
    );
  }

  #record(effect: EffectOf<'take-job'>, job: number, token: string): Run {
    return {
      run: `run-${job}`,
      job,
      projectId,
      project: 'lab/demo',
      name: `job-${this.#world.gitlab.jobOf({ job })?.root ?? job}`,
      ref: 'main',
      tags: effect.tags,
      class: effect.class,
      grant: effect.grant,
      node: this.#agent.machine.id,
      token: sealed(token),
      executor: 'docker',
      state: 'taken',
      frozen: false,
      takenAt: this.#agent.machine.wallMs(),
      startedAt: null,
      finishedAt: null,
      result: null,
      gpus: effect.gpus,
      because: effect.because ?? 'taken with a grant of the leader',
    };
  }

  /** This run is no longer ours. */
  drop(id: string, because: string): void {
    const { machine } = this.#agent;
    this.#world.figures.add('runs dropped');
    machine.containers.get(id)?.destroy(because);
    machine.containers.delete(id);
    machine.disk.runs.delete(id);
    this.#release(id);
    this.#runs.delete(id);
  }

  #release(id: string): void {
    const run = this.#runs.get(id);
    if (run) this.claims.delete(run.grant);
  }

  #later(what: () => void): void {
    this.#agent.later(() => {
      if (!this.#isStopped) what();
    });
  }

  /** On disk first, then what follows from it. */
  #save(run: Run, then: () => void): void {
    const { machine } = this.#agent;
    this.#world.timeline.after(this.#world.faults.fsyncMs(machine.id), () => {
      if (this.#isStopped) return;
      machine.disk.runs.set(run.run, run);
      this.#later(() => {
        this.#runs.set(run.run, run);
        then();
      });
    });
  }

  /** What follows waits behind the news in the core's queue: a run leaves the disk after the core knows that it ended. */
  #change(run: Run, then: () => void = () => {}): void {
    this.#save(run, () => {
      this.#agent.feed({ kind: 'run-changed', run });
      this.#later(then);
    });
  }

  /** A script begins only while the run is surely ours: GitLab said so, `ours` is when, not longer ago than D_r (J1). */
  #begin(run: Run, oursAt: number): void {
    if (this.#runs.get(run.run)?.state !== 'taken') return;
    const { machine, state } = this.#agent;
    const waitMs = Math.min(sharedTimings.standsStillMs, run.takenAt + sharedTimings.standsStillMs - machine.wallMs());
    if (machine.bootMs() - runContactAt(state) > leaseLimits.leaderSilentMs && waitMs > 0) {
      this.#world.figures.add('runs that wait for a former try to stand still');
      return this.#world.timeline.after(waitMs / machine.rate, () => this.#later(() => this.#beginIfOurs(run)));
    }
    const isFresh = (): boolean => machine.bootMs() - oursAt <= sharedTimings.runLeaseMs;
    if (!isFresh()) return this.#beginIfOurs(run);
    const started: Run = { ...run, state: 'running', startedAt: machine.wallMs() };
    this.#change(started, () => {
      const job = this.#world.gitlab.jobOf(run);
      if (!job || machine.containers.has(run.run) || !this.#runs.has(run.run)) return;
      if (this.#world.options.stage === null && failsHere(job.root, machine.id))
        return this.#ended(run.run, failed('its image cannot be pulled here'), { kind: 'network', begun: false });
      const container = new Container(this.#world, machine, started, job, oursAt);
      machine.containers.set(run.run, container);
      this.#world.figures.add('runs started');
      this.#hold(started, container);
    });
  }

  /** After a restart or a long stop: GitLab is asked first whether the run is still ours. */
  #beginIfOurs(run: Run): void {
    const { gitlab, timeline, chance, figures } = this.#world;
    const { machine } = this.#agent;
    const askedAt = machine.bootMs();
    figures.add('runs verified before they begin');
    gitlab.call(
      machine.id,
      () => gitlab.update(unsealed(run.token), { state: 'running', because: '', system: false }),
      (answer) =>
        this.#later(() => {
          if (!this.#runs.has(run.run)) return;
          if (isNoAnswer(answer)) return timeline.after(chance.between(300, 1000), () => this.#beginIfOurs(run));
          if (answer) return this.#begin(run, askedAt);
          this.#release(run.run);
          figures.add('runs discarded');
          this.#change({ ...run, state: 'discarded' }, () => {
            machine.disk.runs.delete(run.run);
            this.#runs.delete(run.run);
          });
        }),
    );
  }

  #hold(run: Run, container: Container): void {
    const end = (): void => this.#later(() => this.#ended(run.run, container.result));
    if (container.isOver) return end();
    container.onEnd = end;
    if (run.state === 'running' && container.run !== run) this.#world.rare.saw('run adopted by the next agent');
  }

  #ended(id: string, result: NonNullable<Run['result']>, fault?: Run['fault']): void {
    const run = this.#runs.get(id);
    if (!run || run.state === 'finished') return;
    this.#agent.machine.containers.delete(id);
    this.#release(id);
    const finishedAt = this.#agent.machine.wallMs();
    const finished: Run = { ...run, state: 'finished', result, finishedAt, ...(fault && { fault }) };
    this.#change(finished, () => this.#deliver(id));
  }

  /** PUT the result, for as long as it takes. */
  #deliver(id: string): void {
    if (this.#delivering.has(id) || this.#isStopped) return;
    this.#delivering.add(id);
    const { gitlab, timeline, chance } = this.#world;
    const run = this.#runs.get(id);
    if (!run?.result) return;
    const { state, because, reason } = run.result;
    const end = {
      state: state === 'success' ? state : ('failed' as const),
      because,
      system: reason === 'runner_system_failure',
    };
    gitlab.call(
      this.#agent.machine.id,
      () => gitlab.update(unsealed(run.token), end),
      (answer) =>
        this.#later(() => {
          this.#delivering.delete(id);
          if (!this.#runs.has(id)) return;
          if (isNoAnswer(answer)) return timeline.after(chance.between(500, 2000), () => this.#deliver(id));
          const over: Run = { ...run, state: answer ? 'delivered' : 'discarded' };
          this.#world.figures.add(`runs ${over.state}`);
          this.#change(over, () => {
            this.#agent.machine.disk.runs.delete(id);
            this.#runs.delete(id);
          });
        }),
    );
  }

  /** Shows the watchdog that the agent lives and whom it heard, and asks GitLab when the leader is silent (J1). */
  #beat(): void {
    if (this.#isStopped) return;
    this.#world.timeline.after(beatMs, () => {
      this.#later(() => this.#look());
      this.#beat();
    });
  }

  #look(): void {
    const { machine, state } = this.#agent;
    if (machine.containers.size === 0) return;
    const at = machine.bootMs();
    const heardAt = runContactAt(state);
    for (const [id, container] of machine.containers) {
      const run = this.#runs.get(id);
      if (!run || container.isOver) continue;
      if (!container.isFrozen) container.contactAt = Math.max(container.contactAt, heardAt);
      const isQuiet = at - heardAt > keepAliveMs;
      const due = (this.#asked.get(id) ?? Number.NEGATIVE_INFINITY) + (isQuiet ? keepAliveMs : quietUpdateMs);
      if (at < due) continue;
      this.#asked.set(id, at);
      this.#askGitlab(run, container, at);
    }
  }

  /** 2xx: the run is still ours, as of when it was asked. 403: it is not. */
  #askGitlab(run: Run, container: Container, askedAt: number): void {
    const { gitlab } = this.#world;
    const { machine } = this.#agent;
    gitlab.call(
      machine.id,
      () => gitlab.update(unsealed(run.token), { state: 'running', because: '', system: false }),
      (answer) =>
        this.#later(() => {
          if (isNoAnswer(answer) || container.isOver || !this.#runs.has(run.run)) return;
          if (!answer) {
            container.destroy('GitLab disowned it');
            machine.containers.delete(run.run);
            this.#world.figures.add('runs discarded');
            this.#release(run.run);
            return this.#change({ ...run, state: 'discarded' }, () => {
              machine.disk.runs.delete(run.run);
              this.#runs.delete(run.run);
            });
          }
          container.contactAt = Math.max(container.contactAt, askedAt);
          if (container.isFrozen && machine.bootMs() - askedAt < sharedTimings.runLeaseMs) container.thaw();
        }),
    );
  }
}
