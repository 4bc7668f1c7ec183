import { AutogitError } from '../../protocol/errors.ts';
import { limits } from '../../protocol/limits.ts';
import { shownLines } from '../foreign-text.ts';
import { agentOf, type Context, jobArgument } from './context.ts';
import { exit } from './failure.ts';
import { jobsView, jobView, whyView } from './jobs-view.ts';
import { pause, watchMs } from './status-command.ts';

/** A job that is over is in the ledger for as long as it is among the newest ones. */
const notRemembered = (job: number): string =>
  `the mesh knows no job ${job}: it does not wait or run here, and of jobs that are over the newest ${limits.runsKept} are remembered (GitLab keeps the others)`;

export async function jobs(context: Context): Promise<number> {
  const { out, settings, signal, args } = context;
  const everyMs = watchMs(settings.get('jobs.watch'));
  const wanted = args[0] === undefined ? null : jobArgument(args[0]);
  const agent = await agentOf(context);
  for (;;) {
    const rows = await agent.jobs(settings.isOn('jobs.all') || wanted !== null);
    const shown = wanted === null ? rows : rows.filter(({ job }) => job === wanted);
    if (wanted !== null && shown.length === 0)
      throw new AutogitError('no-gitlab', notRemembered(wanted), { hint: 'autogit-node jobs --all' });
    if (everyMs !== null) out.restart();
    const cleaned = out.isTerminal ? shownLines : (text: string): string => text;
    const form = { isTerminal: out.isTerminal, columns: out.columns, now: Date.now() };
    if (settings.isOn('json')) out.json(shown);
    else if (wanted !== null) out.data(cleaned(jobView(shown[0] as (typeof rows)[number], form)));
    else if (shown.length > 0 || out.isTerminal) out.data(jobsView(shown, form));
    if (everyMs === null) return exit.ok;
    await pause(everyMs, signal);
    if (signal.aborted) return exit.interrupted;
  }
}

export async function why(context: Context): Promise<number> {
  const { out, settings, args } = context;
  const job = jobArgument(args[0]);
  const answer = await (await agentOf(context)).why(job);
  if (answer === null) throw new AutogitError('no-gitlab', notRemembered(job), { hint: 'autogit-node jobs --all' });
  if (settings.isOn('json')) out.json(answer);
  else out.data(out.isTerminal ? shownLines(whyView(answer, out)) : whyView(answer, out));
  return exit.ok;
}
