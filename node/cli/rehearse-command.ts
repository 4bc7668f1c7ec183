import { setTimeout as pause } from 'node:timers/promises';
import { AutogitError } from '../../protocol/errors.ts';
import type { LeaderLossSeen } from '../../protocol/loss-seen.ts';
import type { DrillStep } from '../../protocol/report.ts';
import { shown } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { showDuration } from '../settings/quantities.ts';
import { agentOf, type Context } from './context.ts';
import { untilDrillIsOver } from './drill-command.ts';
import { exit, failedWith, gitlabHint } from './failure.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { linesOf, requireFit } from './plan-lines.ts';
import { isAgreed } from './prompt.ts';
import { stopsWatching } from './watching.ts';

const statusHint = 'autogit-node status';
const refusal = { nothing: 'nothing is rehearsed', otherwise: statusHint };
/** ms between two looks at what a rehearsal of 1.75 s has come to. */
const lookMs = 100;
/** Longer than whoever watches it does. */
const watchMs = 30_000;

/** `rehearse leader-loss`: it really leads no more, and another one really does. */
export async function leaderLoss(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const plan = await agent.rehearsalPlan('leader-loss');
  requireFit(context, plan, refusal);
  const question = `Have ${plan.whose} fall silent now, for a moment, as if its agent had died? Another machine leads from then on.`;
  if (!(await isAgreed(`${shown(plan.whose ?? '')} shall fall silent`, question, promptOf(context))))
    return exit.failed;
  await agent.rehearseLeaderLoss();
  const seen = await untilSeen(context, agent);
  if (seen === null) return stopsWatching(context, 'silent', `it ends by itself: ${statusHint}`);
  const { state, because, next, ledMs, decidedMs, backMs, lost } = seen;
  if (settings.isOn('json')) out.json({ what: 'leader-loss', ...seen });
  if (state === 'failed') throw failedWith('unsupported', because ?? 'it came to nothing', statusHint);
  if (lost.length > 0)
    throw new AutogitError('unsupported', `jobs were given up meanwhile: ${lost.join(', ')}`, {
      hint: `why: autogit-node why ${lost[0]}`,
    });
  if (!settings.isOn('json'))
    sentence(
      out,
      `${next} led ${ms(ledMs)} after ${seen.leader} fell silent, and decided after ${ms(decidedMs)}; ${seen.leader} was back after ${ms(backMs)}; no job was given up`,
    );
  return exit.ok;
}

/** An election takes some hundredths of a second. */
const ms = (value: number | null): string =>
  value === null ? '-' : value < 10_000 ? `${Math.round(value)} ms` : showDuration(value);

/** A line for each thing as it is seen. Null when nobody watches any more. */
async function untilSeen(context: Context, agent: AgentClient): Promise<LeaderLossSeen | null> {
  const lines = linesOf(context);
  const told = new Set<string>();
  const tell = (what: string, words: string | null): void => {
    if (words === null || told.has(what)) return;
    told.add(what);
    lines.ok(what, words);
  };
  const signal = context.stop.told();
  for (const began = performance.now(); !signal.aborted; ) {
    const seen = await agent.rehearsal();
    if (seen !== null && seen.state !== 'asked') {
      const { leader, next, term, ledMs, decidedMs, backMs, jobs, lost } = seen;
      tell('silence', `${leader} is silent`);
      tell('election', ledMs === null ? null : `${next} leads in term ${term}, after ${ms(ledMs)}`);
      tell('decisions', decidedMs === null ? null : `made again after ${ms(decidedMs)}`);
      tell('back', backMs === null ? null : `${leader} is connected again and follows, after ${ms(backMs)}`);
      const kept =
        jobs === 0 ? 'none was under way' : `${jobs - lost.length} of ${jobs} that were under way were not given up`;
      if (seen.state === 'over') tell('jobs', kept);
      if (seen.state !== 'silent') return seen;
    }
    if (performance.now() - began > watchMs)
      throw failedWith('timed-out', `nobody tells what came of it within ${showDuration(watchMs)}`, statusHint);
    await pause(lookMs);
  }
  return null;
}

/** `rehearse host-loss`: GitLab started from the copy from which it would go on, as a drill does; its host serves on. */
export async function hostLoss(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const plan = await agent.rehearsalPlan('host-loss');
  requireFit(context, plan, refusal);
  const { whose, to, graceMs, besideMs } = plan;
  if (to === null || graceMs === null) throw new AutogitError('bad-message', 'the agent named no machine');
  const { gitlab } = (await agent.status()).snapshot;
  const question = `Have ${to} start GitLab from its newest copy now, without network, as if ${whose} had died? ${whose} serves on; it takes ${to} as much memory as GitLab does, for some minutes, and all of it is deleted afterwards.`;
  if (!(await isAgreed(`${shown(to)} shall try GitLab`, question, promptOf(context)))) return exit.failed;
  const began = performance.now();
  await agent.gitlabDrill(to);
  const chosenMs = performance.now() - began;
  const before = gitlab.drills?.find(({ node }) => node === to) ?? null;
  const end = await untilDrillIsOver(context, agent, before, to);
  if (end === null)
    return stopsWatching(context, 'doing', 'it goes on, and is cleared away, by itself: autogit-node gitlab');
  if ('ended' in end) throw failedWith('clone', `${to} gave the rehearsal up before its end: ${end.ended}`, gitlabHint);
  const { last } = end;
  const parts = { noticedMs: graceMs, chosenMs, besideMs, ...startOf(last.steps) };
  const [namedMs, startMs] = [graceMs + chosenMs, parts.readyMs + parts.bootMs];
  const outageMs = besideMs === null ? namedMs + startMs : Math.max(namedMs, besideMs + startMs);
  const loss = gitlab.loss ?? null;
  if (settings.isOn('json'))
    out.json({ what: 'host-loss', host: whose, to, ...parts, outageMs, loss, ...last, isWhole: last.isProven });
  if (!last.isProven)
    throw new AutogitError('clone', `GitLab would not come out whole on ${to}: ${shown(last.because)}`, {
      hint: gitlabHint,
    });
  if (settings.isOn('json')) return exit.ok;
  const lines = linesOf(context);
  lines.ok('noticed', `after ${showDuration(graceMs)} in which ${whose} says nothing`);
  lines.ok('chosen', `${to}, which answered after ${ms(chosenMs)}; round ${last.round}`);
  lines.ok('round', `ready after ${ms(parts.readyMs)}`);
  const from = besideMs === null ? 'once it goes on there' : `after ${showDuration(besideMs)} of silence, beforehand`;
  lines.ok('boot', `its pages and its API answer after ${ms(parts.bootMs)}; it begins ${from}`);
  lines.ok('loss', lossWords(loss));
  sentence(
    out,
    `had ${whose} died, GitLab would serve on ${to} about ${showDuration(Math.round(outageMs / 1000) * 1000)} later; ${lossWords(loss)}`,
  );
  return exit.ok;
}

/** Of a drill's steps those that a move takes too. */
function startOf(steps: readonly DrillStep[]): { readyMs: number; bootMs: number } {
  const of = (name: string): number => steps.find(({ step }) => step === name)?.ms ?? 0;
  return { readyMs: of('clone'), bootMs: of('boot') };
}

function lossWords(loss: { pushes: boolean; seconds: number | null } | null): string {
  if (loss === null) return 'nobody knows what would be lost';
  const rest = loss.seconds === null ? 'all else' : `${loss.seconds} s of all else`;
  return loss.pushes
    ? `acknowledged pushes would be lost, and ${rest}`
    : `no acknowledged push would be lost, and ${rest}`;
}
