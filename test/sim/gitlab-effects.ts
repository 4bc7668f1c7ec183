import { sharedTimings } from '../../protocol/timings.ts';
import type { Effect, EffectOf } from '../../scheduler/effects.ts';
import type { Agent } from './agent.ts';
import { isNoAnswer, projectId, secretMark } from './gitlab.ts';
import type { World } from './world.ts';

export const sealed = (secret: string): string => `sealed(${secret})`;
export const unsealed = (text: string): string => text.replace(/^sealed\((.*)\)$/, '$1');
export const adminToken = sealed(`${secretMark}-admin`);

/** The leader's side of GitLab, as node/agent/gitlab-effects.ts: done and answered as inputs. */
export class GitlabEffects {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  perform(agent: Agent, effect: Effect): void {
    const { gitlab } = this.#world;
    const self = agent.machine.id;
    switch (effect.kind) {
      case 'read-queue':
        return this.#readQueue(agent);
      case 'create-runner':
        return this.#createRunner(agent, effect.class, effect.tags, effect.nonce);
      case 'delete-runner':
        return gitlab.call(
          self,
          () => gitlab.runners.delete(effect.runner),
          (answer) => {
            if (!isNoAnswer(answer)) agent.feed({ kind: 'runner-deleted', class: effect.class });
          },
        );
      case 'check-runner':
        return gitlab.call(
          self,
          () => [...gitlab.runners.values()].some(({ token }) => token === unsealed(effect.token)),
          (known) => {
            const state = isNoAnswer(known) ? 'unclear' : known ? 'known' : 'unknown';
            agent.feed({ kind: 'runner-checked', class: effect.class, token: effect.token, state, because: '403' });
          },
        );
      case 'fail-run':
        return this.#failRun(agent, effect.run.run, unsealed(effect.run.token), effect.because);
      case 'retry-job':
        return this.#retry(agent, effect.run, effect.job);
      case 'rescue-job':
        this.#world.rare.saw('job taken and forgotten, rescued');
        return this.#rescue(agent, effect, 'look');
      case 'remove-runners':
        return this.#removeRunners(agent);
      case 'compare-runs':
        return this.#compare(agent, effect.runners);
      default:
        throw new Error(`the simulation does not know the effect ${effect.kind}`);
    }
  }

  #readQueue(agent: Agent): void {
    const { gitlab } = this.#world;
    gitlab.call(
      agent.machine.id,
      () => gitlab.queue().map((job) => ({ ...job })),
      (answer) => {
        if (isNoAnswer(answer)) return agent.feed({ kind: 'queue-failed', because: answer.because });
        const jobs = answer.map((job) => ({
          job: job.id,
          projectId,
          project: 'lab/demo',
          name: `job-${job.root}`,
          ref: 'main',
          tags: job.tags,
          queuedAt: job.queuedAt,
        }));
        agent.feed({ kind: 'queue-read', jobs, complete: true });
      },
    );
  }

  #createRunner(agent: Agent, key: string, tags: string[], nonce: string): void {
    const { gitlab, figures } = this.#world;
    gitlab.call(
      agent.machine.id,
      () => gitlab.createRunner(tags, nonce),
      (answer) => {
        if (isNoAnswer(answer))
          return agent.feed({ kind: 'runner-failed', class: key, nonce, because: answer.because });
        figures.add('runners created');
        agent.feed({ kind: 'runner-created', class: key, nonce, runner: answer.id, token: sealed(answer.token) });
      },
    );
  }

  #failRun(agent: Agent, run: string, token: string, because: string): void {
    const { gitlab } = this.#world;
    this.#world.rare.saw('run lost and failed at GitLab');
    gitlab.call(
      agent.machine.id,
      () => gitlab.update(token, { state: 'failed', because, system: true }),
      (answer) => {
        const ok = !isNoAnswer(answer);
        const sentence = isNoAnswer(answer) ? answer.because : because;
        agent.feed({ kind: 'run-failed-at-gitlab', run, ok, because: sentence });
      },
    );
  }

  /** Looks first: what GitLab itself tried again is not tried twice. */
  #retry(agent: Agent, run: string, id: number): void {
    const { gitlab, rare, checks } = this.#world;
    const carryOut = () => {
      const job = gitlab.jobs.get(id);
      if (job?.status === 'failed' && gitlab.retry(id)) {
        rare.saw('failed by its machine, tried again by the mesh');
        checks.retries.made(job.root);
      }
      return { status: job?.status ?? 'gone', isRetried: job?.isRetried === true };
    };
    gitlab.call(agent.machine.id, carryOut, (now) => {
      const said = isNoAnswer(now)
        ? { done: false, made: false, because: now.because }
        : { done: true, made: now.isRetried, because: `it is ${now.status}` };
      agent.feed({ kind: 'job-retried', run, ...said });
    });
  }

  /** Each step is a call of its own, which may fail, be lost, or come when another leader has done it. */
  #rescue(agent: Agent, effect: EffectOf<'rescue-job'>, step: 'look' | 'cancel' | 'force' | 'retry'): void {
    const { gitlab } = this.#world;
    const { job, retry } = effect;
    const done = (is: boolean, because: string) => agent.feed({ kind: 'job-rescued', job, done: is, because });
    const carryOut = () => {
      if (step === 'cancel' || step === 'force') gitlab.cancel(job, step === 'force');
      if (step === 'retry') gitlab.retry(job);
      const { status, isRetried } = gitlab.jobs.get(job) ?? { status: 'canceled' as const, isRetried: true };
      return { status, isRetried };
    };
    gitlab.call(agent.machine.id, carryOut, (now) => {
      if (isNoAnswer(now)) return done(false, now.because);
      if (now.status === 'running' && step === 'look') return this.#rescue(agent, effect, 'cancel');
      if (now.status === 'canceling' && step !== 'force') return this.#rescue(agent, effect, 'force');
      if (now.status === 'canceled' && retry && !now.isRetried && step !== 'retry') {
        const waitMs = step === 'look' ? 0 : sharedTimings.standsStillMs;
        return void this.#world.timeline.after(waitMs, () => this.#rescue(agent, effect, 'retry'));
      }
      done(now.status !== 'running' && now.status !== 'canceling', `it is ${now.status}`);
    });
  }

  #removeRunners(agent: Agent): void {
    const { gitlab, rare } = this.#world;
    const carryOut = () => {
      const busy = [...gitlab.jobs.values()].find(({ status }) => status === 'running' || status === 'canceling');
      const removed = gitlab.runners.size;
      if (!busy) gitlab.runners.clear();
      return { busy: busy?.id ?? null, removed };
    };
    gitlab.call(agent.machine.id, carryOut, (answer) => {
      const because = isNoAnswer(answer) ? answer.because : answer.busy === null ? null : `job ${answer.busy} runs`;
      const removed = isNoAnswer(answer) || because !== null ? 0 : answer.removed;
      if (because === null) rare.saw('GitLab disconnected');
      agent.feed({ kind: 'runners-removed', removed, left: [], because });
    });
  }

  #compare(agent: Agent, runners: number[]): void {
    const { gitlab } = this.#world;
    const list = () =>
      [...gitlab.jobs.values()]
        .filter(
          (job) =>
            (job.status === 'running' || job.status === 'canceling') &&
            job.runner !== null &&
            runners.includes(job.runner),
        )
        .map(({ id, runner, systemId, startedAt, status }) => ({
          job: id,
          canceling: status === 'canceling',
          projectId,
          runner: runner as number,
          systemId,
          startedAt,
        }));
    gitlab.call(agent.machine.id, list, (answer) => {
      if (!isNoAnswer(answer)) agent.feed({ kind: 'runs-compared', running: answer });
    });
  }
}
