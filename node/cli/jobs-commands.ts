import { AutogitError } from '../../protocol/errors.ts';
import type { JobWish } from '../../protocol/job-asks.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import { limits } from '../../protocol/limits.ts';
import { jobNamed, jobToShow } from '../../scheduler/job-wish.ts';
import { shownLines } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { agentOf, type Context, jobArgument } from './context.ts';
import { exit } from './failure.ts';
import { jobsView, jobView, whyView } from './jobs-view.ts';
import { sentence } from './output.ts';
import { watchMs, watchPicture } from './watching.ts';

/** A job that is over is in the ledger for as long as it is among the newest ones. */
const notRemembered = (job: number): string =>
  `the mesh knows no job ${job}: it does not wait or run here, and of jobs that are over the newest ${limits.runsKept} are remembered (GitLab keeps the others)`;

export async function jobs(context: Context): Promise<number> {
  const { out, settings, args } = context;
  const everyMs = watchMs(settings.get('jobs.watch'));
  checkJob(args[0]);
  const agent = await agentOf(context);
  const wanted = args[0] === undefined ? null : await shownJobOf(agent, args[0]);
  const isAll = settings.isOn('jobs.all');
  const rowsFrom = async (asked: AgentClient): Promise<{ all: JobRow[]; chosen: JobRow[] }> => {
    const all = await asked.jobs(isAll || wanted !== null);
    const chosen = wanted === null ? all : all.filter(({ job }) => job === wanted);
    if (wanted !== null && chosen.length === 0) throw new AutogitError('no-job', notRemembered(wanted));
    return { all, chosen };
  };
  const cleaned = out.isTerminal ? shownLines : (text: string): string => text;
  const view = ({ all, chosen }: { all: JobRow[]; chosen: JobRow[] }): string => {
    const form = { isTerminal: out.isTerminal, columns: out.columns, now: Date.now(), isAll };
    return wanted === null ? jobsView(chosen, form) : cleaned(jobView(chosen[0] as JobRow, all, form));
  };
  const asJson = settings.isOn('json');
  if (everyMs !== null)
    return watchPicture(context, everyMs, async (asked) => {
      const rows = await rowsFrom(asked);
      return asJson ? JSON.stringify(rows.chosen) : view(rows);
    });
  const rows = await rowsFrom(agent);
  if (asJson) out.json(rows.chosen);
  else if (rows.chosen.length > 0 || out.isTerminal) out.data(view(rows));
  return exit.ok;
}

export async function why(context: Context): Promise<number> {
  const { out, settings, args } = context;
  checkJob(args[0]);
  const agent = await agentOf(context);
  const job = await shownJobOf(agent, args[0] as string);
  const answer = await agent.why(job);
  if (answer === null) throw new AutogitError('no-job', notRemembered(job));
  if (settings.isOn('json')) out.json(answer);
  else out.data(out.isTerminal ? shownLines(whyView(answer, out)) : whyView(answer, out));
  return exit.ok;
}

const wishing =
  (wish: JobWish['wish']) =>
  async (context: Context): Promise<number> => {
    const { out, settings, args } = context;
    checkJob(args[0]);
    const agent = await agentOf(context);
    const job = await jobOf(agent, args[0] as string, wish);
    const answer = await agent.wish({ wish, job, force: wish === 'cancel' && settings.isOn('cancel.force') });
    if (settings.isOn('json')) out.json({ job, ...answer });
    else sentence(out, answer.said);
    return exit.ok;
  };

/** Both are done at GitLab, by whichever machine of the mesh holds its token. */
export const cancel = wishing('cancel');
export const retry = wishing('retry');

/** By its number, or by its name where only one job can be meant. */
const jobOf = (agent: AgentClient, text: string, wish: JobWish['wish']): Promise<number> =>
  numberOf(text, async () => jobNamed(await agent.jobs(true), text, wish));

/** The same, of what is only looked at. */
export const shownJobOf = (agent: AgentClient, text: string): Promise<number> =>
  numberOf(text, async () => jobToShow(await agent.jobs(true), text));

/** A number that is none, before an agent is looked for; names are its to find. Throws `bad-flag`. */
export function checkJob(text: string | undefined): void {
  if (text !== undefined && isNumber(text)) jobArgument(text);
}
const isNumber = (text: string): boolean => /^\d+$/.test(text);

async function numberOf(text: string, find: () => Promise<{ job: number } | { refused: string }>): Promise<number> {
  if (isNumber(text)) return jobArgument(text);
  const found = await find();
  if ('job' in found) return found.job;
  throw new AutogitError('no-job', found.refused, { hint: 'look for its number: autogit-node jobs --all' });
}
