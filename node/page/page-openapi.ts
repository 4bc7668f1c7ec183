import { z } from 'zod';
import { Timeline, Usage } from '../../protocol/history.ts';
import { JobRow, WhyAnswer } from '../../protocol/job-rows.ts';
import { MeshSettings } from '../../protocol/ledger.ts';
import { StatusSnapshot } from '../../protocol/status.ts';
import { BackupsAnswer, Failure, MovePlan } from '../local-api/socket-protocol.ts';
import { acts } from './page-acts.ts';
import { type AddedPath, type Role, roles } from './page-types.ts';

const schemaOf = (schema: z.ZodType): unknown => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { unrepresentable: 'any', io: 'input' }) as Record<
    string,
    unknown
  >;
  return rest;
};
const Me = z.object({
  node: z.string(),
  mesh: z.string().nullable(),
  role: z.enum(roles),
  name: z.string(),
  version: z.string(),
  until: z.string().nullable(),
});

interface Read {
  help: string;
  /** Type of the answer, and its schema where it is JSON of ours. */
  type?: string;
  schema?: z.ZodType;
  query?: Readonly<Record<string, string>>;
  /** Who may ask; absent: whoever is in. */
  role?: Role;
}

const job = { job: 'number of a job' };
const reads: Readonly<Record<string, Read>> = {
  '/api/me': { help: 'who asks, and what he may', schema: Me },
  '/api/status': {
    help: 'the mesh, as `autogit-node status --json`; with `wait` and `tag` (the ETag of the one before) as soon as it differs',
    schema: StatusSnapshot,
    query: { wait: 'ms, 60000 at most', tag: 'of the answer before, without quotes' },
  },
  '/api/jobs': {
    help: 'queue and runs, as `autogit-node jobs --json`',
    schema: z.object({ rows: z.array(JobRow) }),
    query: { all: '1: those that are over, too' },
  },
  '/api/why': { help: 'why a job is where it is', schema: z.object({ why: WhyAnswer.nullable() }), query: job },
  '/api/logs': {
    help: "a job's trace; without a job, for owners, the log of this agent or of `node`",
    type: 'text/plain',
    query: { ...job, node: 'name of a machine', follow: '1: until it ends' },
  },
  '/api/settings': {
    help: "the mesh's settings",
    schema: MeshSettings,
    query: { wait: 'ms', tag: 'of the answer before' },
  },
  '/api/gitlab/history': {
    help: 'rounds, backups and what restores have replaced, as `autogit-node gitlab history --json`',
    schema: BackupsAnswer,
  },
  '/api/gitlab/move-plan': {
    help: 'what a move of GitLab to a machine would find and cost, as `autogit-node gitlab move` shows it before it asks; changes nothing',
    schema: MovePlan,
    query: { to: 'name of a machine' },
    role: 'owner',
  },
  '/api/summary': { help: 'a few flat numbers and words, for widgets' },
  '/api/timeline': {
    help: 'what happened, oldest first: the newest 500, or what came after `since`',
    schema: Timeline,
    query: { since: 'id of the last that is known', wait: 'ms for the next, where there is none yet' },
  },
  '/api/usage': { help: 'what machines and GPUs used, 24 hours in steps of 5 minutes', schema: Usage },
  '/api/events': {
    help: 'server-sent events: status, jobs, timeline (the newest 50); each whole, when it changed',
    type: 'text/event-stream',
  },
  '/api/openapi.json': { help: 'this document' },
};

const problems = {
  default: {
    description: 'refused, or failed: what happened, and what to do',
    content: { 'application/json': { schema: { $ref: '#/components/schemas/Failure' } } },
  },
};
const ok = (type: string, schema?: unknown) => ({
  200: { description: 'the answer', content: { [type]: schema === undefined ? {} : { schema } } },
  ...problems,
});

/** OpenAPI 3.1, made of the schemas that the door checks by. */
export function openApi(version: string, added: readonly AddedPath[]) {
  const paths: Record<string, unknown> = {};
  for (const [path, { help, type = 'application/json', schema, query = {}, role = 'viewer' }] of Object.entries(reads))
    paths[path] = {
      get: {
        summary: help,
        'x-autogit-role': role,
        parameters: Object.entries(query).map(([name, description]) => ({
          ...{ name, in: 'query', description, required: false, schema: { type: 'string' } },
        })),
        responses: ok(type, schema === undefined ? undefined : schemaOf(schema)),
      },
    };
  for (const [name, { help, role, body }] of Object.entries(acts))
    paths[`/api/acts/${name}`] = {
      post: {
        summary: help,
        'x-autogit-role': role,
        requestBody: { required: true, content: { 'application/json': { schema: schemaOf(body) } } },
        responses: ok('application/json', schemaOf(z.object({ said: z.string() }))),
      },
    };
  for (const { path, methods, role } of added.filter((one) => one.role !== 'anybody' && !one.path.endsWith('/')))
    paths[path] = Object.fromEntries(
      methods.map((method) => [method.toLowerCase(), { 'x-autogit-role': role, responses: ok('text/plain') }]),
    );
  return {
    openapi: '3.1.0',
    info: {
      title: 'autogit-node',
      version,
      description:
        'What this agent knows of its mesh. A key for programs: `autogit-node dashboard key` (roles: viewer, operator, owner). Fields may be added, never changed.',
    },
    security: [{ key: [] }],
    paths,
    components: {
      securitySchemes: { key: { type: 'http', scheme: 'bearer' } },
      schemas: { Failure: schemaOf(Failure) },
    },
  };
}
