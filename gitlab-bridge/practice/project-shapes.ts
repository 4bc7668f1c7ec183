import { iso } from './practice-clock.ts';
import type { State } from './practice-state.ts';
import { fullPath, type Project, type User } from './records.ts';

/** API::Entities::UserBasic. */
export const userBasic = (user: User, base: string): Record<string, unknown> => ({
  id: user.id,
  username: user.username,
  name: user.name,
  state: 'active',
  locked: false,
  avatar_url: null,
  web_url: `${base}/${user.username}`,
});

/** API::Entities::UserPublic and its admin fields, for `GET /user`. */
export const userShape = (user: User, base: string): Record<string, unknown> => ({
  ...userBasic(user, base),
  created_at: iso(user.createdAt),
  bio: '',
  location: '',
  public_email: null,
  website_url: '',
  job_title: '',
  bot: false,
  email: user.email ?? `${user.username}@practice.invalid`,
  is_admin: user.admin,
  two_factor_enabled: false,
  external: false,
});

/** API::Entities::ProjectIdentity. */
export const projectIdentity = (_state: State, project: Project, _base: string): Record<string, unknown> => ({
  id: project.id,
  description: project.description,
  name: project.name,
  name_with_namespace: `${project.namespace} / ${project.name}`,
  path: project.path,
  path_with_namespace: fullPath(project),
  created_at: iso(project.createdAt),
});

/** API::Entities::BasicProjectDetails: `GET /projects?simple=true`. */
export const projectBasic = (state: State, project: Project, base: string): Record<string, unknown> => {
  const empty = Object.keys(project.refs).length === 0;
  return {
    ...projectIdentity(state, project, base),
    default_branch: empty ? null : project.defaultBranch,
    tag_list: [],
    topics: [],
    ssh_url_to_repo: `ssh://git@practice.invalid/${fullPath(project)}.git`,
    http_url_to_repo: `${base}/${fullPath(project)}.git`,
    web_url: `${base}/${fullPath(project)}`,
    readme_url: null,
    forks_count: 0,
    avatar_url: null,
    star_count: 0,
    last_activity_at: iso(project.updatedAt),
    namespace: {
      id: project.ownerId,
      name: project.namespace,
      path: project.namespace,
      kind: 'user',
      full_path: project.namespace,
      parent_id: null,
      avatar_url: null,
      web_url: `${base}/${project.namespace}`,
    },
  };
};

/** API::Entities::Project, as far as CI clients read it. */
export const projectShape = (state: State, project: Project, base: string): Record<string, unknown> => {
  const owner = state.user(project.ownerId);
  return {
    ...projectBasic(state, project, base),
    visibility: project.visibility,
    empty_repo: Object.keys(project.refs).length === 0,
    archived: false,
    owner: owner === undefined ? null : userBasic(owner, base),
    creator_id: project.ownerId,
    jobs_enabled: project.buildsDisabled !== true,
    builds_access_level: project.buildsDisabled ? 'disabled' : 'enabled',
    shared_runners_enabled: project.sharedRunners,
    build_timeout: project.buildTimeout,
    ci_separated_caches: project.separatedCaches !== false,
    ci_default_git_depth: 20,
    ci_config_path: null,
    open_issues_count: 0,
  };
};
