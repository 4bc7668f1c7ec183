import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Journal } from './journal.ts';
import type { PracticeClock } from './practice-clock.ts';
import type {
  Environment,
  Group,
  Hook,
  Instance,
  Job,
  Manager,
  Pipeline,
  Project,
  Runner,
  TableName,
  User,
} from './records.ts';
import { fullPath } from './records.ts';
import { newPersonalToken, newQueueValue, newRegistrationToken } from './secrets.ts';

/** All records, their indexes, and where their files lie. Who changes a record says `save` afterwards. */
export class State {
  readonly clock: PracticeClock;
  readonly folder: string;
  readonly log: (line: string) => void;
  /** Heard whenever a job record is saved with another status than before: webhooks and long polls live on it. */
  readonly jobChanged: ((job: Job) => void)[] = [];
  /** The same for pipelines; a new one has no status before it goes on. */
  readonly pipelineChanged: ((pipeline: Pipeline) => void)[] = [];
  private readonly journal: Journal;
  private readonly statusByPipeline = new Map<number, string>();
  private readonly jobsByPipeline = new Map<number, number[]>();
  private readonly statusByJob = new Map<number, string>();
  private readonly pendingIds = new Set<number>();
  private readonly liveIds = new Set<number>();
  private readonly runnerByToken = new Map<string, number>();
  private readonly jobByToken = new Map<string, number>();
  private readonly userByToken = new Map<string, { user: number; token: number }>();

  constructor(folder: string, clock: PracticeClock, log: (line: string) => void) {
    this.clock = clock;
    this.folder = folder;
    this.log = log;
    this.journal = new Journal(folder);
    for (const name of ['traces', 'artifacts', 'repositories'])
      mkdirSync(join(folder, name), { recursive: true, mode: 0o700 });
    for (const job of this.journal.table('job').values()) this.indexJob(job);
    for (const pipeline of this.journal.table('pipeline').values())
      this.statusByPipeline.set(pipeline.id, pipeline.status);
    for (const runner of this.journal.table('runner').values()) this.runnerByToken.set(runner.token, runner.id);
    for (const user of this.journal.table('user').values()) this.indexUser(user);
    if (this.journal.table('instance').size === 0) this.seed();
  }

  get instance(): Instance {
    return this.journal.table('instance').get(1) as Instance;
  }
  users = (): Iterable<User> => this.journal.table('user').values();
  user = (id: number): User | undefined => this.journal.table('user').get(id);
  groups = (): Iterable<Group> => this.journal.table('group').values();
  projects = (): Iterable<Project> => this.journal.table('project').values();
  project = (id: number): Project | undefined => this.journal.table('project').get(id);
  pipelines = (): Iterable<Pipeline> => this.journal.table('pipeline').values();
  pipeline = (id: number): Pipeline | undefined => this.journal.table('pipeline').get(id);
  jobs = (): Iterable<Job> => this.journal.table('job').values();
  job = (id: number): Job | undefined => this.journal.table('job').get(id);
  runners = (): Iterable<Runner> => this.journal.table('runner').values();
  runner = (id: number): Runner | undefined => this.journal.table('runner').get(id);
  managers = (): Iterable<Manager> => this.journal.table('manager').values();
  manager = (id: number): Manager | undefined => this.journal.table('manager').get(id);
  hooks = (): Iterable<Hook> => this.journal.table('hook').values();

  projectByPath(path: string): Project | undefined {
    for (const project of this.projects()) if (fullPath(project) === path) return project;
    return undefined;
  }

  jobsOf(pipelineId: number): Job[] {
    return (this.jobsByPipeline.get(pipelineId) ?? []).map((id) => this.job(id) as Job);
  }
  /** Without the retried ones. */
  latestOf(pipelineId: number): Job[] {
    return this.jobsOf(pipelineId).filter((job) => !job.retried);
  }
  pendingJobs(): Job[] {
    return [...this.pendingIds].map((id) => this.job(id) as Job);
  }
  /** Pending, running and canceling jobs. */
  liveJobs(): Job[] {
    return [...this.liveIds].map((id) => this.job(id) as Job);
  }
  runningOnInstance = (projectId: number): number =>
    this.liveJobs().filter(
      (job) =>
        job.projectId === projectId &&
        job.status === 'running' &&
        this.runner(job.runnerId ?? 0)?.type === 'instance_type',
    ).length;

  runnerOfToken = (token: string): Runner | undefined => this.runner(this.runnerByToken.get(token) ?? 0);
  jobOfToken = (token: string): Job | undefined => this.job(this.jobByToken.get(token) ?? 0);
  /** Also of a token that has ended, which opens nothing. */
  ownerOfToken(token: string): { user: User; scopes: string[]; hasEnded: boolean } | undefined {
    const found = this.userByToken.get(token);
    const user = found === undefined ? undefined : this.user(found.user);
    const personal = user?.tokens.find((entry) => entry.id === found?.token);
    if (user === undefined || personal === undefined) return undefined;
    const { scopes, expiresOn } = personal;
    return { user, scopes, hasEnded: expiresOn !== undefined && Date.parse(expiresOn) <= this.clock.now() };
  }

  newId = (table: TableName): number => this.journal.newId(table);
  saveInstance = (instance: Instance): void => this.journal.put('instance', instance);
  saveProject = (project: Project): void => this.journal.put('project', project);
  saveManager = (manager: Manager): void => this.journal.put('manager', manager);
  saveGroup = (group: Group): void => this.journal.put('group', group);
  saveHook = (hook: Hook): void => this.journal.put('hook', hook);
  dropHook = (id: number): void => this.journal.drop('hook', id);
  dropManager = (id: number): void => this.journal.drop('manager', id);

  environments = (): Iterable<Environment> => this.journal.table('environment').values();
  saveEnvironment = (environment: Environment): void => this.journal.put('environment', environment);

  savePipeline(pipeline: Pipeline): void {
    const before = this.statusByPipeline.get(pipeline.id);
    this.journal.put('pipeline', pipeline);
    this.statusByPipeline.set(pipeline.id, pipeline.status);
    if (before !== pipeline.status && pipeline.status !== 'created')
      for (const listener of this.pipelineChanged) listener(pipeline);
  }
  saveUser(user: User): void {
    this.journal.put('user', user);
    this.indexUser(user);
  }
  saveRunner(runner: Runner): void {
    for (const [token, id] of this.runnerByToken) if (id === runner.id) this.runnerByToken.delete(token);
    this.runnerByToken.set(runner.token, runner.id);
    this.journal.put('runner', runner);
  }
  dropRunner(runner: Runner): void {
    this.runnerByToken.delete(runner.token);
    for (const manager of [...this.managers()]) if (manager.runnerId === runner.id) this.dropManager(manager.id);
    this.journal.drop('runner', runner.id);
  }
  saveJob(job: Job): void {
    const before = this.statusByJob.get(job.id);
    this.journal.put('job', job);
    this.indexJob(job);
    if (before !== job.status) for (const listener of this.jobChanged) listener(job);
  }
  /** Removes a project with all that belongs to it; its files are the caller's. */
  dropProject(project: Project): Job[] {
    const jobs = [...this.jobs()].filter((job) => job.projectId === project.id);
    for (const job of jobs) {
      this.journal.drop('job', job.id);
      this.pendingIds.delete(job.id);
      this.liveIds.delete(job.id);
      this.jobByToken.delete(job.token);
    }
    for (const pipeline of [...this.pipelines()])
      if (pipeline.projectId === project.id) {
        this.journal.drop('pipeline', pipeline.id);
        this.jobsByPipeline.delete(pipeline.id);
        this.statusByPipeline.delete(pipeline.id);
      }
    for (const one of [...this.environments()])
      if (one.projectId === project.id) this.journal.drop('environment', one.id);
    for (const hook of [...this.hooks()]) if (hook.projectId === project.id) this.dropHook(hook.id);
    this.journal.drop('project', project.id);
    return jobs;
  }

  tracePath = (jobId: number): string => join(this.folder, 'traces', `${jobId}.log`);
  artifactPath = (stored: string): string => join(this.folder, 'artifacts', stored);
  /** Hashed storage, as GitLab has it; a folder of an earlier practice GitLab has them by number. */
  repositoryPath = (projectId: number): string => {
    const repositories = join(this.folder, 'repositories');
    const older = join(repositories, `${projectId}.git`);
    if (existsSync(older)) return older;
    const hash = createHash('sha256').update(String(projectId)).digest('hex');
    return join(repositories, '@hashed', hash.slice(0, 2), hash.slice(2, 4), `${hash}.git`);
  };

  flush = (): void => this.journal.flush();
  close = (): void => this.journal.close();

  private indexUser(user: User): void {
    for (const token of user.tokens) this.userByToken.set(token.token, { user: user.id, token: token.id });
  }

  private indexJob(job: Job): void {
    if (!this.statusByJob.has(job.id)) {
      const list = this.jobsByPipeline.get(job.pipelineId) ?? [];
      list.push(job.id);
      this.jobsByPipeline.set(job.pipelineId, list);
    }
    this.statusByJob.set(job.id, job.status);
    this.jobByToken.set(job.token, job.id);
    if (job.status === 'pending') this.pendingIds.add(job.id);
    else this.pendingIds.delete(job.id);
    if (job.status === 'pending' || job.status === 'running' || job.status === 'canceling') this.liveIds.add(job.id);
    else this.liveIds.delete(job.id);
  }

  private seed(): void {
    const now = this.clock.now();
    this.journal.newId('instance');
    this.saveInstance({
      id: 1,
      uuid: randomUUID(),
      jobKey: newQueueValue(),
      registrationToken: newRegistrationToken(),
      allowLocalHooks: false,
      lastSweepAt: now,
    });
    const token = { id: 1, name: 'practice admin', token: newPersonalToken(), scopes: ['api', 'admin_mode', 'sudo'] };
    const id = this.newId('user');
    this.saveUser({ id, username: 'root', name: 'Administrator', admin: true, tokens: [token], createdAt: now });
    this.flush();
  }
}
