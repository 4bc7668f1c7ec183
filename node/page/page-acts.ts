import { z } from 'zod';
import type { ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { JobId, NodeId } from '../../protocol/ids.ts';
import type { AgentApi } from '../local-api/agent-api.ts';
import { bodies } from '../local-api/socket-protocol.ts';
import type { Caller, Role } from './page-types.ts';

/** One thing that a person does at the page: what it takes, who may, and the sentence that says what came of it. */
interface PageAct {
  readonly role: Role;
  readonly help: string;
  readonly body: z.ZodType;
  run(api: AgentApi, body: unknown, by: string): Promise<string>;
}

const act = <S extends z.ZodType>(
  role: Role,
  help: string,
  body: S,
  run: (api: AgentApi, body: z.output<S>, by: string) => Promise<string>,
): PageAct => ({ role, help, body, run: (api, given, by) => run(api, given as z.output<S>, by) });

const node = z.string().min(1).max(64);
const ofJob = z.strictObject({ job: JobId, force: z.boolean().optional() });
const { what, forMs, now } = bodies.pause.shape;

/** What the mesh made of a change, as the CLI would say it. Throws the refusal. */
function done({ state, because }: ChangeOutcome): string {
  if (state === 'done') return because;
  if (state === 'refused')
    throw new AutogitError('unsupported', because, { hint: 'the mesh is shown by: autogit-node status' });
  throw new AutogitError('no-leader', `it is not known whether this was done: ${because}`, {
    hint: 'ask again after a look at: autogit-node status',
  });
}

export const acts: Readonly<Record<string, PageAct>> = {
  approve: act(
    'owner',
    'let a waiting machine in, whose four words somebody has compared',
    z.strictObject({ node: z.union([NodeId, node]), words: z.string().min(1).max(128) }),
    async (api, { node, words }, by) =>
      done(await api.change({ kind: 'approve', node, words, because: `approved by ${by}` })),
  ),
  ignore: act('owner', 'stop asking about a waiting machine', z.strictObject({ node }), async (api, { node }) =>
    done(await api.change({ kind: 'ignore', node })),
  ),
  pause: act(
    'owner',
    'the owner wants this machine (or its GPU) for himself; `now`: what runs makes way, as its owner has set it or so',
    z.strictObject({ what, forMs, now: z.union([z.boolean(), now.unwrap()]).optional() }),
    (api, { what, forMs, now }) => api.pause(what, forMs, now || null),
  ),
  resume: act('owner', 'this machine works again', z.strictObject({ what }), (api, { what }) => api.resume(what)),
  drain: act(
    'owner',
    'give a machine no new work, no vote and no lead; or all of it again',
    z.strictObject({ node, drained: z.boolean() }),
    async (api, { node, drained }) => done(await api.change({ kind: 'drain', node, drained })),
  ),
  cancel: act(
    'operator',
    'end a job',
    ofJob,
    async (api, { job, force = false }) => (await api.wish({ wish: 'cancel', job, force })).said,
  ),
  retry: act(
    'operator',
    'run a job again that has ended',
    ofJob,
    async (api, { job }) => (await api.wish({ wish: 'retry', job, force: false })).said,
  ),
  backup: act('operator', 'back up GitLab now', z.strictObject({}), (api) => api.hosting.gitlabBackup()),
  move: act(
    'owner',
    'run GitLab on another machine that is in sync',
    z.strictObject({ to: node }),
    async (api, { to }) => done(await api.hosting.gitlabMove(to)),
  ),
  'move-cancel': act('owner', 'take that wish back', z.strictObject({}), async (api) =>
    done(await api.hosting.gitlabMoveCancel(null)),
  ),
};

/** Those that are no change of the ledger. */
export const besideLedger: ReadonlySet<string> = new Set(['pause', 'resume', 'cancel', 'retry', 'backup']);

/** Who it was, for the sentence that says why. */
export const byOf = ({ kind, name, role }: Caller, self: string): string =>
  kind === 'key'
    ? `a program with the key ${name} (${role}) on ${self}`
    : `somebody at the page of ${self} (${name}, ${role})`;
