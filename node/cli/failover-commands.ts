import { AutogitError } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { shown, shownLines } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { showDuration } from '../settings/quantities.ts';
import { agentOf, type Context, nodeArgument } from './context.ts';
import { exit, gitlabHint, requireDone } from './failure.ts';
import { hostedMesh } from './hosted-mesh.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { isAgreed } from './prompt.ts';

type GitlabView = StatusSnapshot['gitlab'];

async function hosted(agent: AgentClient): Promise<{ gitlab: GitlabView; data: string; self: string }> {
  const { gitlab, seenFrom } = await hostedMesh(agent);
  // An agent of before has not said which data: it knows nothing of these changes either.
  const { data } = gitlab.hosted ?? {};
  if (data === undefined)
    throw new AutogitError('unsupported', 'the agent here is of an earlier version', { hint: 'restart it' });
  return { gitlab, data, self: seenFrom };
}

/** `gitlab clear-flag`: it moved by itself too often, and may again. */
export async function clearFlag(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const { data, gitlab } = await hosted(agent);
  const outcome = await agent.change({ kind: 'clear-gitlab-flag', data });
  requireDone(outcome, gitlabHint);
  const { because } = outcome;
  if (settings.isOn('json')) out.json({ state: 'done', wasFlagged: gitlab.flag, because });
  else sentence(out, because);
  return exit.ok;
}

/** `gitlab take-over NODE`: what the mesh would not start by itself, by a person who is told what is missing there. */
export async function takeOver(context: Context): Promise<number> {
  const { settings, out } = context;
  if (settings.isOn('gitlab.cancel')) return cancelTakeOver(context);
  const to = nodeArgument(context);
  const agent = await agentOf(context);
  const { data, gitlab, self } = await hosted(agent);
  const copy = gitlab.standbys?.find(({ node }) => node === to);
  if (!copy && gitlab.host !== to)
    throw new AutogitError('unsupported', `${to} holds no copy of GitLab`, {
      hint: 'who does: autogit-node gitlab copies',
    });
  const what = `GitLab shall go on at ${shown(to)}`;
  // On its host, where it did not come up, nothing can be lost by another try.
  if (copy && !(await isAgreed(what, shownLines(takeOverQuestion(gitlab, to, copy)), promptOf(context))))
    return exit.failed;
  const because = asSentence(`a person said so on ${self}`);
  const change = { kind: 'start-gitlab-at', data, epoch: gitlab.epoch, to, because } as const;
  const outcome = await agent.change(change);
  requireDone(outcome, gitlabHint);
  if (settings.isOn('json')) out.json({ state: 'asked', to, because: outcome.because });
  else sentence(out, `${outcome.because}   -> autogit-node gitlab`);
  return exit.ok;
}

/** `gitlab take-over --cancel`: its host may come back, and nobody is to go on in its place. */
async function cancelTakeOver(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const { data, gitlab, self } = await hosted(agent);
  const because = asSentence(`a person on ${self} wants it no more`);
  const outcome = await agent.change({ kind: 'start-gitlab-at', data, epoch: gitlab.epoch, to: null, because });
  requireDone(outcome, gitlabHint);
  const said = `${gitlab.host} stays GitLab's host, unless the mesh goes on elsewhere by itself`;
  if (settings.isOn('json')) out.json({ state: 'cancelled', host: gitlab.host, because: outcome.because });
  else sentence(out, `${said}   -> autogit-node gitlab`);
  return exit.ok;
}

function takeOverQuestion(
  { host }: GitlabView,
  to: string,
  { ageMs, inSync }: NonNullable<GitlabView['standbys']>[number],
): string {
  const age =
    ageMs === null
      ? 'nobody knows how old its copy is'
      : `its copy is ${showDuration(Math.round(ageMs / 1000) * 1000)} old`;
  const loss = inSync
    ? 'It has every push that was acknowledged.'
    : `${age[0]!.toUpperCase()}${age.slice(1)}: what was written later is on ${host} alone, is kept there, and is not in what goes on.`;
  return `GitLab's host ${host} must be gone for good, or for long: nothing happens while it answers. Have GitLab go on at ${to}? ${loss}`;
}
