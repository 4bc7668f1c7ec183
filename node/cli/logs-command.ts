import { existsSync } from 'node:fs';
import { AutogitError } from '../../protocol/errors.ts';
import { homesToSearch } from '../settings/settings.ts';
import { places } from '../store/home.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { checkJob, shownJobOf } from './jobs-commands.ts';
import { LogLines } from './log-lines.ts';

/** Lines of agent.log shown of an agent that does not run. */
const lastLines = 200;

/** A job's trace, or a log. The log of an agent that does not run is read from its file. */
export async function logs(context: Context): Promise<number> {
  const { args, settings } = context;
  const wanted = args[0];
  const node = settings.text('logs.node');
  const follow = settings.isOn('logs.follow');
  const all = settings.isOn('logs.all');
  if (all && (wanted !== undefined || node !== null))
    throw new AutogitError('bad-flag', '--all is the logs of all machines: neither a job nor --node goes with it');
  checkJob(wanted);
  // A job's trace is its own words; a log is for people here, and JSON lines in a pipe.
  const lines =
    wanted === undefined && context.out.isTerminal && !settings.isOn('json') ? new LogLines(context.out.columns) : null;
  try {
    const agent = await agentOf(context);
    const job = wanted === undefined ? null : await shownJobOf(agent, wanted);
    for await (const text of agent.logs({ job, node, follow, ...(all ? { all } : {}) }))
      await write(lines?.add(text) ?? text);
    await write(lines?.end() ?? '');
  } catch (error) {
    const isGone = error instanceof AutogitError && error.code === 'no-agent';
    if (!isGone || wanted !== undefined || node !== null || all || follow || !(await showFile(context))) throw error;
  }
  return exit.ok;
}

const write = (text: string): Promise<void> =>
  new Promise((resolve) => {
    if (process.stdout.write(text)) resolve();
    else process.stdout.once('drain', resolve);
  });

async function showFile({ settings, out }: Context): Promise<boolean> {
  const file = homesToSearch(settings)
    .map((home) => places(home).log)
    .find((path) => existsSync(path));
  if (file === undefined) return false;
  const { tailOf } = await import('../support/log-tail.ts');
  out.talk(`no agent is running here; the end of ${file}:`);
  const tail = await tailOf(file, lastLines);
  const lines = new LogLines(out.columns);
  await write(out.isTerminal && !settings.isOn('json') ? lines.add(tail) + lines.end() : tail);
  return true;
}
