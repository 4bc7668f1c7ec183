import { AutogitError } from '../../protocol/errors.ts';
import { webhookPort } from '../../protocol/names.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { plural } from '../../scheduler/phrases.ts';
import { gitlabReasons, gitlabRows } from '../faces/gitlab-rows.ts';
import { shownLines } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { wrapped } from '../text-wrap.ts';
import { agentOf, type Context } from './context.ts';
import { exit, requireDone } from './failure.ts';
import { localTimes } from './local-time.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { askHidden, hasTerminal, isConfirmed } from './prompt.ts';
import { attentionLine } from './table.ts';

type GitlabView = StatusSnapshot['gitlab'];

/** `gitlab`: where it runs, health, backups, forecast. */
export async function show(context: Context): Promise<number> {
  const { snapshot } = await (await agentOf(context)).status();
  if (context.settings.isOn('json')) context.out.json(snapshot.gitlab);
  else context.out.data(gitlabView(snapshot, context.out.isTerminal, context.out.columns));
  return exit.ok;
}

/** Of a GitLab that the mesh hosts itself; people whose GitLab does not need not wonder what is missing. */
const ofHosting = new Set(['host', 'epoch', 'image', 'data', 'backup', 'forecast']);
const isForHosting = (name: string, { protected: known }: GitlabView): boolean =>
  ofHosting.has(name) && !(known !== undefined && name === 'backup');

export function gitlabView(snapshot: StatusSnapshot, isTerminal: boolean, columns = 100): string {
  const { gitlab } = snapshot;
  const lines = gitlabRows(gitlab);
  // A script finds each row; a person does not read that there is nothing.
  const isNothing = ([name, value]: [string, string]): boolean =>
    value === '-' && (gitlab.mode === 'none' || name === 'flag');
  const known = isTerminal ? lines.filter((line) => !isNothing(line)) : lines;
  const told = isTerminal && gitlab.mode !== 'hosted' ? known.filter(([name]) => !isForHosting(name, gitlab)) : known;
  const rows = told.map(([name, value]) =>
    isTerminal
      ? `${name.padEnd(10)}${wrapped(localTimes(value), columns - 10).join(`\n${' '.repeat(10)}`)}`
      : `${name}\t${value}`,
  );
  if (isTerminal && gitlab.mode === 'none')
    rows.push(
      '',
      attentionLine('no GitLab; the mesh can run one', 'autogit-node gitlab deploy', columns),
      attentionLine('one that runs already', 'autogit-node gitlab connect URL --token-env VAR', columns),
    );
  const reasons = gitlabReasons(snapshot);
  if (isTerminal && reasons.length > 0)
    rows.push('', ...reasons.map(({ sentence, fix }) => attentionLine(localTimes(sentence), fix, columns)));
  return rows.join('\n');
}

/** The value of a variable that the user named: a token never stands in an argument list. */
function secretOf(variable: string): string {
  const value = process.env[variable];
  if (value === undefined || value.trim() === '')
    throw new AutogitError('bad-flag', `the variable ${variable} is empty or not set`, {
      hint: `the same command again, after: export ${variable}=…`,
    });
  return value.trim();
}

/** `--runner-token-env VAR --tags a,b` come in pairs, in the order given; one token without tags is the untagged class. */
export function pairTokens(
  variables: readonly string[],
  tags: readonly string[],
): { variable: string; tags: string[] }[] {
  if (variables.length !== tags.length && !(variables.length === 1 && tags.length === 0))
    throw new AutogitError('bad-flag', `${variables.length} runner tokens, but ${tags.length} times --tags`, {
      hint: 'write --tags after each --runner-token-env; --tags "" is the class of untagged jobs',
    });
  return variables.map((variable, index) => ({
    variable,
    tags: (tags[index] ?? '')
      .split(',')
      .map((tag) => tag.trim())
      .filter((tag) => tag !== ''),
  }));
}

export async function connect(context: Context): Promise<number> {
  const { settings, out, args } = context;
  const url = checkUrl(args[0] as string);
  const named = settings.text('gitlab.tokenEnv');
  const runnerTokens = pairTokens(settings.list('gitlab.runnerTokenEnv'), settings.list('gitlab.tags')).map(
    ({ variable, tags }) => {
      const token = secretOf(variable);
      if (!token.startsWith('glrt-'))
        throw new AutogitError('bad-flag', `${variable} holds no runner token: it does not begin with glrt-`);
      return { tags, token };
    },
  );
  const agent = await agentOf(context);
  // Before a token is asked for.
  const { gitlab } = (await agent.status()).snapshot;
  requireNotHosted(gitlab);
  const token = named === null ? await askToken(context, runnerTokens.length > 0) : secretOf(named);
  const outcome = await agent.gitlabConnect({ url, token, runnerTokens });
  if (settings.isOn('json')) out.json(outcome);
  requireDone(outcome, statusHint);
  if (!settings.isOn('json')) sentence(out, outcome.because);
  // Not asked: a port on the LAN is opened by who wants it, and it takes the agent's next start.
  if (token !== null && gitlab.webhook === undefined)
    out.talk(
      `the queue is looked at each second or three; GitLab tells of a job at once where a machine hears its webhooks: webhook: 0.0.0.0:${webhookPort} in autogit.yml, then its agent anew`,
    );
  return exit.ok;
}

function requireNotHosted({ mode, host }: GitlabView): void {
  if (mode !== 'hosted') return;
  throw new AutogitError(
    'unsupported',
    `this mesh runs its GitLab itself, on ${host ?? 'one of its machines'}: none is connected`,
    {
      hint: 'to end that one: autogit-node gitlab uninstall',
    },
  );
}

function checkUrl(text: string): string {
  // Never printed back: it would stand in the scrollback, and in whatever keeps it.
  if (/^gl[a-z]{1,8}-|^[\w-]{20,}$/.test(text))
    throw new AutogitError('bad-flag', 'this looks like a token; here comes the address of GitLab', {
      hint: 'the token is asked for, and stays hidden: autogit-node gitlab connect http://gitlab.lan',
    });
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!url || !/^https?:$/.test(url.protocol)) {
    const whole = `http://${text}`;
    const isShort = !text.includes('://') && /^[\w.[-]/.test(text) && URL.canParse(whole);
    throw new AutogitError('bad-flag', `"${text}" is no http(s) address`, {
      hint: isShort ? `the same command with ${whole} or by https` : 'write it whole, such as http://gitlab.lan:8080',
    });
  }
  if (url.username !== '' || url.password !== '')
    throw new AutogitError('bad-flag', 'the address holds a password', { hint: 'give the token by --token-env VAR' });
  return url.href.replace(/\/+$/, '');
}

async function askToken(context: Context, isOptional: boolean): Promise<string | null> {
  if (isOptional) return null;
  const prompt = promptOf(context);
  if (!hasTerminal(prompt) || prompt.yes)
    throw new AutogitError('bad-flag', 'a token is missing', {
      hint: 'an admin token with scope api in VAR: autogit-node gitlab connect URL --token-env VAR',
    });
  const token = await askHidden('admin token (scope api; it stays hidden):', prompt);
  if (token === '') throw new AutogitError('bad-flag', 'a token is missing');
  return token;
}

/** Jobs may run for hours: this much is waited for, the rest happens by itself. */
const waitedMs = 60_000;

/** For good as far as runners and token go, so a person on a terminal is asked, once. */
export async function disconnect(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const { gitlab, nodes } = (await agent.status()).snapshot;
  if (gitlab.mode === 'none') return sayGone(context, 'no GitLab is connected');
  requireNotHosted(gitlab);
  const now = settings.isOn('gitlab.now');
  const running = nodes.reduce((sum, { runs }) => sum + runs.length, 0);
  const jobs = `${plural(running, 'job')} that ${running === 1 ? 'runs' : 'run'}`;
  const first = running === 0 ? '' : now ? ` ${jobs} will be given up.` : ` ${jobs} will end first.`;
  const question = `Disconnect ${gitlab.url}? The mesh's runners and token for it go; the mesh stays.${first}`;
  const prompt = promptOf(context);
  if (!(await isConfirmed(question, false, prompt))) return exit.failed;
  const outcome = await agent.gitlabDisconnect({ now, force: settings.isOn('gitlab.force') });
  requireDone(outcome, statusHint);
  const gone = await untilGone(context, agent);
  if (gone !== null) return sayGone(context, gone);
  const because = `it goes on by itself: ${(await agent.status()).snapshot.gitlab.flag ?? outcome.because}`;
  if (settings.isOn('json')) out.json({ state: 'leaving', because });
  else sentence(out, because);
  return context.stop.told().aborted ? exit.interrupted : exit.ok;
}

const statusHint = 'look at the mesh: autogit-node status';

function sayGone({ settings, out }: Context, because: string): number {
  if (settings.isOn('json')) out.json({ state: 'gone', because });
  else sentence(out, because);
  return exit.ok;
}

/** Says what is waited for whenever that changes; answers how it ended, or null when it takes longer. */
async function untilGone({ out, stop }: Context, agent: AgentClient): Promise<string | null> {
  const signal = stop.told();
  const end = performance.now() + waitedMs;
  let said: string | null = null;
  for (let tag = ''; !signal.aborted; ) {
    const leftMs = Math.floor(end - performance.now());
    if (leftMs <= 0) return null;
    const news = await agent.status(tag === '' ? undefined : { tag, waitMs: Math.min(leftMs, 1_000) });
    const { gitlab, attention } = news.snapshot;
    if (gitlab.mode === 'none') return goneIn(attention);
    if (gitlab.flag !== null && gitlab.flag !== said) out.talk(shownLines(gitlab.flag));
    said = gitlab.flag;
    tag = news.tag;
  }
  return null;
}

/** The mesh says it to everybody for an hour, and how long ago it was. */
const goneIn = (attention: StatusSnapshot['attention']): string =>
  attention.findLast(({ code }) => code === 'act-gitlab-gone')?.sentence.replace(/, [\d.]+ \w+ ago$/, '') ??
  'GitLab is disconnected';
