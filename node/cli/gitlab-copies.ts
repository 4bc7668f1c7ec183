import { AutogitError } from '../../protocol/errors.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { whatCopiesTell } from '../../scheduler/membership-sentence.ts';
import { standbyState } from '../../scheduler/phrases.ts';
import { shown, shownLines } from '../foreign-text.ts';
import { showDuration } from '../settings/quantities.ts';
import { wrapped } from '../text-wrap.ts';
import { agentOf, type Context, nodeArgument } from './context.ts';
import { copiesView } from './copies-view.ts';
import { exit, requireDone } from './failure.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { linesOf, sayChecks } from './plan-lines.ts';
import { confirm, hasTerminal } from './prompt.ts';

const statusHint = 'look at them: autogit-node gitlab copies';
type StandbyRow = NonNullable<StatusSnapshot['gitlab']['standbys']>[number];

/** `gitlab copies`: who holds what, and what the death of GitLab's machine would cost now. */
export async function show(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const { agreed } = await agent.gitlabCopies();
  const { gitlab } = (await agent.status()).snapshot;
  const standbys = gitlab.standbys ?? [];
  const spare = agreed.filter((name) => !standbys.some(({ node }) => node === name));
  if (settings.isOn('json')) {
    out.json({ agreed, standbys, loss: gitlab.loss ?? null });
    return exit.ok;
  }
  const rows = [...standbys.map(standbyRow), ...spare.map((name) => [name, 'named', '-', '-', 'others hold copies'])];
  const form = { isTerminal: out.isTerminal, columns: out.columns };
  if (rows.length > 0) out.data(copiesView(rows, form));
  if (!out.isTerminal) return exit.ok;
  if (rows.length === 0) out.data('no machine holds copies of GitLab   -> autogit-node gitlab copies add NAME');
  else if (gitlab.forecast) out.data(`\n${wrapped(shownLines(gitlab.forecast.sentence), out.columns).join('\n')}`);
  return exit.ok;
}

const standbyRow = ({ node, round, ageMs, because, ...row }: StandbyRow): string[] => [
  node,
  standbyState(row),
  round ?? '-',
  ageMs === null ? '-' : showDuration(Math.max(0, Math.round(ageMs / 1000) * 1000)),
  because,
];

/** `gitlab copies add NODE`: looked at there first, and a person is told what that machine will hold. */
export async function add(context: Context): Promise<number> {
  const agent = await agentOf(context);
  const plan = await agent.gitlabCopyPlan(nodeArgument(context));
  const [failed] = sayChecks(linesOf(context), plan.lines);
  if (failed)
    throw new AutogitError('unsupported', `${plan.node} cannot hold copies of GitLab`, {
      hint: failed.fix ?? 'what the line above says; then the same command again',
    });
  const question = `${shown(plan.node)} will hold all of GitLab: projects, users, secrets. Whoever owns it can read them. Go on?`;
  return (await isMeant(context, question)) ? agree(context, true) : exit.failed;
}

export async function remove(context: Context): Promise<number> {
  const agent = await agentOf(context);
  const { agreed } = await agent.gitlabCopies();
  const wanted = nodeArgument(context);
  const known = (await agent.status()).snapshot.nodes.find(({ node, id }) => node === wanted || id === wanted);
  if (!agreed.includes(known?.node ?? wanted))
    throw new AutogitError('unsupported', `${shown(wanted)} is not one of the machines that shall hold copies`, {
      hint: 'which are: autogit-node gitlab copies',
    });
  const question = `No more copies to ${shown(nodeArgument(context))}? What lies there is deleted. Who had it knows ${whatCopiesTell}. Go on?`;
  return (await isMeant(context, question)) ? agree(context, false) : exit.failed;
}

async function isMeant(context: Context, question: string): Promise<boolean> {
  const prompt = promptOf(context);
  if (prompt.yes) return true;
  if (!hasTerminal(prompt))
    throw new AutogitError('no-terminal', 'nobody here can answer that', { hint: 'the same command with --yes' });
  return confirm(question, false, prompt);
}

async function agree(context: Context, agreed: boolean): Promise<number> {
  const { settings, out } = context;
  const outcome = await (await agentOf(context)).gitlabAgree({ node: nodeArgument(context), agreed });
  requireDone(outcome, statusHint);
  if (settings.isOn('json')) out.json(outcome);
  else sentence(out, outcome.because);
  return exit.ok;
}
