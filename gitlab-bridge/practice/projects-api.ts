import { rmSync } from 'node:fs';
import { z } from 'zod';
import { authenticate, callerOf, changeable, isAdmin, maySee, projectOf } from './access.ts';
import { type Call, created, ok, type Route, read, route } from './api-call.ts';
import { initRepository } from './git-repository.ts';
import { page } from './paging.ts';
import type { PracticeContext } from './practice-context.ts';
import { projectBasic, projectShape } from './project-shapes.ts';
import type { Project } from './records.ts';
import { refuse, refuseWith } from './refusal.ts';

const flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')]);
const settings = {
  description: z.string().max(2000).nullish(),
  visibility: z.enum(['private', 'internal', 'public']).optional(),
  default_branch: z.string().min(1).max(255).optional(),
  shared_runners_enabled: flag.optional(),
  ci_separated_caches: flag.optional(),
  build_timeout: z.number().int().min(600).max(2_592_000).optional(),
  builds_access_level: z.enum(['disabled', 'private', 'enabled']).optional(),
};
const createBody = z.object({
  ...settings,
  name: z.string().min(1).max(255).optional(),
  path: z.string().min(1).max(255).optional(),
  initialize_with_readme: flag.optional(),
  namespace_id: z.union([z.number(), z.string()]).optional(),
});
const editBody = z.object({ ...settings, name: z.string().min(1).max(255).optional() });

const allowBody = z.object({ target_project_id: z.number().int().positive() });

const goodPath = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

const apply = (project: Project, body: z.infer<typeof editBody>): void => {
  if (body.name !== undefined) project.name = body.name;
  if (body.description !== undefined) project.description = body.description;
  if (body.visibility !== undefined) project.visibility = body.visibility;
  if (body.default_branch !== undefined) project.defaultBranch = body.default_branch;
  if (body.shared_runners_enabled !== undefined) project.sharedRunners = body.shared_runners_enabled;
  if (body.ci_separated_caches !== undefined) project.separatedCaches = body.ci_separated_caches;
  if (body.build_timeout !== undefined) project.buildTimeout = body.build_timeout;
  if (body.builds_access_level !== undefined) project.buildsDisabled = body.builds_access_level === 'disabled';
};

const createProject = async (context: PracticeContext, call: Call): Promise<Project> => {
  const { state } = context;
  const caller = authenticate(state, call);
  const body = read(createBody, call.body);
  const path = body.path ?? body.name?.toLowerCase().replace(/[^a-z0-9_.-]+/g, '-');
  if (path === undefined)
    throw refuseWith(400, { error: 'name, path are missing, at least one parameter must be provided' });
  if (!goodPath.test(path) || path.endsWith('.git') || path.endsWith('.atom') || path.endsWith('.'))
    throw refuseWith(400, {
      path: [
        "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-', end in '.git' or end in '.atom'.",
      ],
    });
  if (body.initialize_with_readme === true)
    throw refuseWith(400, { initialize_with_readme: ['the practice GitLab lacks this: push a first commit instead'] });
  const namespace = caller.user.username;
  if (body.namespace_id !== undefined && String(body.namespace_id) !== String(caller.user.id))
    throw refuseWith(400, { namespace: ['is not valid: the practice GitLab has user namespaces only'] });
  if (state.projectByPath(`${namespace}/${path}`) !== undefined)
    throw refuseWith(400, { name: ['has already been taken'], path: ['has already been taken'] });
  const now = state.clock.now();
  const project: Project = {
    id: state.newId('project'),
    name: body.name ?? path,
    path,
    namespace,
    description: null,
    visibility: 'private',
    ownerId: caller.user.id,
    createdAt: now,
    updatedAt: now,
    defaultBranch: 'main',
    refs: {},
    lastPipelineIid: 0,
    buildTimeout: 3600,
    sharedRunners: true,
  };
  apply(project, body);
  state.saveProject(project);
  await initRepository(state.repositoryPath(project.id), project.defaultBranch);
  state.log(`project ${project.id} ${namespace}/${path} created`);
  return project;
};

const removeProject = (context: PracticeContext, project: Project): void => {
  const { state } = context;
  for (const job of state.dropProject(project)) {
    rmSync(state.tracePath(job.id), { force: true });
    for (const artifact of job.artifacts) rmSync(state.artifactPath(artifact.stored), { force: true });
  }
  rmSync(state.repositoryPath(project.id), { recursive: true, force: true });
};

export const projectRoutes = (context: PracticeContext): Route[] => {
  const { state } = context;
  return [
    route('POST', '/api/v4/projects', async (call) =>
      created(projectShape(state, await createProject(context, call), call.base)),
    ),
    route('GET', '/api/v4/projects', (call) => {
      const caller = callerOf(state, call);
      const search = call.query.get('search')?.toLowerCase() ?? '';
      const owned = call.query.get('owned') === 'true';
      const seen = [...state.projects()].filter(
        (project) =>
          maySee(caller, project) &&
          (project.name.toLowerCase().includes(search) || project.path.includes(search)) &&
          (!owned || project.ownerId === caller?.user.id),
      );
      const shape = caller === null || call.query.get('simple') === 'true' ? projectBasic : projectShape;
      return page(
        call,
        seen.sort((a, b) => b.id - a.id),
        (project) => shape(state, project, call.base),
      );
    }),
    route('GET', '/api/v4/projects/:id', (call) => {
      const project = projectOf(state, call, authenticate(state, call, ['read_repository']));
      return ok(projectShape(state, project, call.base));
    }),
    route('PUT', '/api/v4/projects/:id', (call) => {
      const project = changeable(state, call, authenticate(state, call));
      apply(project, read(editBody, call.body));
      state.saveProject(project);
      return ok(projectShape(state, project, call.base));
    }),
    route('POST', '/api/v4/projects/:id/job_token_scope/allowlist', (call) => {
      const project = changeable(state, call, authenticate(state, call));
      const { target_project_id } = read(allowBody, call.body);
      if (state.project(target_project_id) === undefined) throw refuse(404);
      project.jobTokensOf = [...new Set([...(project.jobTokensOf ?? []), target_project_id])];
      state.saveProject(project);
      return created({ source_project_id: project.id, target_project_id });
    }),
    route('DELETE', '/api/v4/projects/:id', (call) => {
      const caller = authenticate(state, call);
      const project = changeable(state, call, caller);
      if (!isAdmin(caller) && project.ownerId !== caller.user.id) throw refuse(403);
      removeProject(context, project);
      return { status: 202, json: { message: '202 Accepted' } };
    }),
  ];
};
