import { z } from 'zod';
import { authenticate, changeable } from './access.ts';
import { type Call, created, empty, ok, type Route, read, route } from './api-call.ts';
import type { CiVariable } from './ci/ci-variables.ts';
import { isProtected } from './job-queue.ts';
import { page } from './paging.ts';
import type { PracticeContext } from './practice-context.ts';
import type { Pipeline, Project, ProjectVariable } from './records.ts';
import { notFound, refuseWith } from './refusal.ts';

/** CI variables that a project has by its settings: they win over the file's, and lose to those of the pipeline. */

/** `review/*`: a star is anything. */
const scopeFits = (scope: string, environment: string | null): boolean => {
  if (scope === '*') return true;
  if (environment === null) return false;
  const shape = scope.split('*').map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'));
  return new RegExp(`^${shape.join('.*')}$`).test(environment);
};

/** Those that a job of this pipeline gets, for its environment; the narrower scope of a key comes last and wins. */
export const projectVariables = (project: Project, pipeline: Pipeline, environment: string | null): CiVariable[] => {
  const guarded = isProtected(project, pipeline);
  const breadth = ({ scope }: ProjectVariable): number => (scope === '*' ? 0 : scope.replaceAll('*', '').length + 1);
  return (project.variables ?? [])
    .filter((one) => (guarded || !one.protected) && scopeFits(one.scope, environment))
    .sort((a, b) => breadth(a) - breadth(b))
    .map(({ key, value, raw, file, masked }) => ({ key, value, raw, file, secret: masked ? 'masked' : 'hidden' }));
};

const flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')]);
const fields = {
  value: z.string().max(65_536).optional(),
  variable_type: z.enum(['env_var', 'file']).optional(),
  protected: flag.optional(),
  masked: flag.optional(),
  masked_and_hidden: flag.optional(),
  raw: flag.optional(),
  environment_scope: z.string().min(1).max(255).optional(),
  description: z.string().max(255).nullish(),
};
const createBody = z.object({ ...fields, key: z.string().regex(/^\w+$/).max(255), value: z.string().max(65_536) });
const editBody = z.object(fields);

const shape = (one: ProjectVariable): object => ({
  variable_type: one.file ? 'file' : 'env_var',
  key: one.key,
  value: one.hidden ? null : one.value,
  hidden: one.hidden,
  protected: one.protected,
  masked: one.masked,
  raw: one.raw,
  environment_scope: one.scope,
  description: one.description,
});

const maskable = ({ value, raw }: ProjectVariable): boolean =>
  raw ? /^\S{8,}$/.test(value) : /^[A-Za-z0-9_+=/@:.~-]{8,}$/.test(value);

const changed = (before: ProjectVariable, body: z.infer<typeof editBody>): ProjectVariable => {
  const after: ProjectVariable = {
    ...before,
    value: body.value ?? before.value,
    file: body.variable_type === undefined ? before.file : body.variable_type === 'file',
    protected: body.protected ?? before.protected,
    masked: body.masked_and_hidden === true ? true : (body.masked ?? before.masked),
    hidden: body.masked_and_hidden ?? before.hidden,
    raw: body.raw ?? before.raw,
    scope: body.environment_scope ?? before.scope,
    description: body.description === undefined ? before.description : body.description,
  };
  if (after.masked && !maskable(after)) throw refuseWith(400, { value: ['is invalid'] });
  return after;
};

export const projectVariableRoutes = (context: PracticeContext): Route[] => {
  const { state } = context;
  const projectOfCall = (call: Call): Project => changeable(state, call, authenticate(state, call));
  const keep = (project: Project, variables: ProjectVariable[]): void => {
    project.variables = variables;
    state.saveProject(project);
  };
  const one = (call: Call, project: Project): ProjectVariable => {
    const scope = call.query.get('filter[environment_scope]');
    const found = (project.variables ?? []).filter(
      ({ key, scope: own }) => key === call.params.key && (scope === null || own === scope),
    );
    if (found.length > 1)
      throw refuseWith(
        409,
        "There are multiple variables with provided parameters. Please use 'filter[environment_scope]'",
      );
    if (found[0] === undefined) throw notFound('Variable');
    return found[0];
  };
  const at = '/api/v4/projects/:id/variables';
  return [
    route('GET', at, (call) => page(call, projectOfCall(call).variables ?? [], shape)),
    route('POST', at, (call) => {
      const project = projectOfCall(call);
      const body = read(createBody, call.body);
      const fresh = {
        key: body.key,
        value: '',
        raw: false,
        file: false,
        protected: false,
        masked: false,
        hidden: false,
      };
      const variable = changed({ ...fresh, scope: '*', description: null }, body);
      const others = project.variables ?? [];
      if (others.some(({ key, scope }) => key === variable.key && scope === variable.scope))
        throw refuseWith(400, { key: [`(${variable.key}) has already been taken`] });
      keep(project, [...others, variable]);
      return created(shape(variable));
    }),
    route('GET', `${at}/:key`, (call) => ok(shape(one(call, projectOfCall(call))))),
    route('PUT', `${at}/:key`, (call) => {
      const project = projectOfCall(call);
      const before = one(call, project);
      const after = changed(before, read(editBody, call.body));
      keep(
        project,
        (project.variables ?? []).map((other) => (other === before ? after : other)),
      );
      return ok(shape(after));
    }),
    route('DELETE', `${at}/:key`, (call) => {
      const project = projectOfCall(call);
      const gone = one(call, project);
      keep(
        project,
        (project.variables ?? []).filter((other) => other !== gone),
      );
      return empty();
    }),
  ];
};
