import {
  type DocumentNode,
  execute,
  GraphQLError,
  parse,
  type SelectionSetNode,
  specifiedRules,
  validate,
} from 'graphql';
import { z } from 'zod';
import { callerOf, isAdmin, maySee } from './access.ts';
import { type Answer, type Call, ok, type Route, read, route } from './api-call.ts';
import { complexityOf, mostComplex } from './graphql-complexity.ts';
import { connection, type JobFilter, jobObject, jobRows, projectObject, userObject } from './graphql-objects.ts';
import { schema } from './graphql-schema.ts';
import { fits } from './job-queue.ts';
import type { PracticeContext } from './practice-context.ts';
import { practiceRevision, practiceVersion } from './practice-identity.ts';
import type { Job } from './records.ts';
import { refuse, refuseWith } from './refusal.ts';

const maxQueryLength = 10_000;
const maxDepth = 20;

const requestBody = z.object({
  query: z.string(),
  variables: z.record(z.string(), z.unknown()).nullish(),
  operationName: z.string().nullish(),
});

type RootJobs = JobFilter & {
  runnerTypes?: string[] | null;
  compatibleRunnerId?: string | null;
  name?: string | null;
};

const compatible = (context: PracticeContext, args: RootJobs): ((job: Job) => boolean) => {
  if (args.compatibleRunnerId == null) return () => true;
  if (args.statuses?.length !== 1 || args.statuses[0] !== 'PENDING')
    throw new GraphQLError('The `compatibleRunnerId` argument can only be used with `statuses: [PENDING]`');
  const id = /^gid:\/\/gitlab\/Ci::Runner\/(\d{1,15})$/.exec(args.compatibleRunnerId)?.[1];
  if (id === undefined) throw new GraphQLError(`"${args.compatibleRunnerId}" is not a valid GitLab ID of Ci::Runner`);
  const runner = context.state.runner(Number(id));
  if (runner === undefined) return () => false;
  return (job) => fits(runner, job, context.state);
};

/** Root `jobs`: administrators only; everybody else gets an empty list, not an error, as in GitLab. */
const allJobs = (context: PracticeContext, call: Call, args: RootJobs): unknown => {
  const caller = callerOf(context.state, call);
  const accepts = compatible(context, args);
  if (caller === null || !isAdmin(caller)) return connection([] as Job[], args, () => null);
  const only = args.statuses ?? [];
  const alive = only.length > 0 && only.every((status) => ['PENDING', 'RUNNING', 'CANCELING'].includes(status));
  const types = args.runnerTypes ?? null;
  const rows = jobRows(alive ? context.state.liveJobs() : context.state.jobs(), args).filter((job) => {
    if (args.name != null && job.name !== args.name) return false;
    if (types === null) return accepts(job);
    const runner = context.state.runner(job.runnerId ?? 0);
    return runner !== undefined && types.includes(runner.type.toUpperCase()) && accepts(job);
  });
  return connection(rows, args, (job) => jobObject(context, job, call.base));
};

/** A query's count, and how much whoever asks may ask. */
interface Complexity {
  score: number;
  limit: number;
}

const roots = (context: PracticeContext, call: Call, queryComplexity: Complexity): object => ({
  queryComplexity,
  currentUser: () => {
    const caller = callerOf(context.state, call);
    return caller === null ? null : userObject(caller.user);
  },
  metadata: () => ({ version: practiceVersion, revision: practiceRevision, enterprise: false }),
  echo: ({ text }: { text: string }) => {
    const caller = callerOf(context.state, call);
    return `${JSON.stringify(caller?.user.username ?? null).replaceAll('null', 'nil')} says: ${text}`;
  },
  project: ({ fullPath }: { fullPath: string }) => {
    const project = context.state.projectByPath(fullPath);
    return project === undefined || !maySee(callerOf(context.state, call), project)
      ? null
      : projectObject(context, project, call.base);
  },
  jobs: (args: RootJobs) => allJobs(context, call, args),
});

const deep = (set: SelectionSetNode | undefined, left: number): boolean => {
  if (set === undefined) return false;
  if (left === 0) return true;
  return set.selections.some((node) => 'selectionSet' in node && deep(node.selectionSet, left - 1));
};

const tooDeep = (document: DocumentNode): boolean =>
  document.definitions.some((node) => 'selectionSet' in node && deep(node.selectionSet, maxDepth));

const failed = (errors: readonly GraphQLError[]): Answer => ok({ errors: errors.map((error) => error.toJSON()) });

const answer = async (context: PracticeContext, call: Call): Promise<Answer> => {
  const asked = call.headers['private-token'] ?? call.headers.authorization ?? call.query.get('private_token');
  // A wrong token is refused; no token at all may still ask.
  if (asked !== undefined && asked !== null) {
    const caller = callerOf(context.state, call);
    if (caller === null) throw refuseWith(401, 'Invalid token');
    if (!caller.scopes.some((scope) => scope === 'api' || scope === 'read_api'))
      throw refuse(403, 'insufficient_scope');
  }
  const body = read(requestBody, call.body);
  if (body.query.length > maxQueryLength) return failed([new GraphQLError('Query too large')]);
  let document: DocumentNode;
  try {
    document = parse(body.query, { maxTokens: 3000 });
  } catch (error) {
    if (error instanceof GraphQLError) return failed([error]);
    throw error;
  }
  if (tooDeep(document)) return failed([new GraphQLError(`Query has depth of more than ${maxDepth}`)]);
  const wrong = validate(schema, document, specifiedRules, { maxErrors: 10 });
  if (wrong.length > 0) return failed(wrong);
  if (document.definitions.some((node) => node.kind === 'OperationDefinition' && node.operation !== 'query'))
    return failed([new GraphQLError('the practice GitLab has queries only')]);
  const caller = callerOf(context.state, call);
  const limit = mostComplex[caller === null ? 'nobody' : caller.user.admin ? 'admin' : 'somebody'];
  const score = complexityOf(schema, document, body.operationName ?? null, body.variables ?? {});
  if (score > limit)
    return failed([new GraphQLError(`Query has complexity of ${score}, which exceeds max complexity of ${limit}`)]);
  const result = await execute({
    schema,
    document,
    rootValue: roots(context, call, { score, limit }),
    variableValues: body.variables ?? {},
    operationName: body.operationName ?? null,
  });
  return ok(result);
};

export const graphqlRoutes = (context: PracticeContext): Route[] => [
  route('POST', '/api/graphql', (call) => answer(context, call), { kind: 'graphql' }),
];
