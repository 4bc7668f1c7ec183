import { closeSync, openSync, readSync } from 'node:fs';
import { type Caller, callerOf, maySee } from './access.ts';
import type { Answer, Call, Route } from './api-call.ts';
import { route } from './api-call.ts';
import type { PracticeContext } from './practice-context.ts';
import { practiceVersion, standInSentence } from './practice-identity.ts';
import { fullPath, type Job, type Pipeline, type Project } from './records.ts';
import { traceLength } from './trace-file.ts';

/** A few plain pages: projects, pipelines, jobs, a trace. Everything that came from outside is escaped. */
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

const layout = (title: string, body: string): string => `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)} · practice GitLab</title>
<style>body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.2em .8em .2em 0;border-bottom:1px solid #ddd}pre{background:#111;color:#eee;padding:1em;overflow:auto}
.note{background:#fff3c4;padding:.5em 1em}</style></head>
<body><p class="note"><b>${standInSentence}</b> (${practiceVersion}): a stand-in that speaks as GitLab does, for trying out and for tests.</p>
<h1>${escapeHtml(title)}</h1>
${body}
</body></html>
`;

const html = (title: string, body: string, status = 200): Answer => ({
  status,
  html: layout(title, body),
  headers: { 'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'" },
});

const table = (heads: string[], rows: string[][]): string =>
  `<table><tr>${heads.map((head) => `<th>${head}</th>`).join('')}</tr>${rows
    .map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join('')}</tr>`)
    .join('\n')}</table>`;

const link = (path: string, text: string): string => `<a href="${escapeHtml(encodeURI(path))}">${escapeHtml(text)}</a>`;

const maxShown = 100;
const maxTraceShown = 262_144;

const pipelineRows = (context: PracticeContext, project: Project): string[][] =>
  [...context.state.pipelines()]
    .filter((pipeline) => pipeline.projectId === project.id)
    .sort((a, b) => b.id - a.id)
    .slice(0, maxShown)
    .map((pipeline) => [
      link(`/${fullPath(project)}/-/pipelines/${pipeline.id}`, `#${pipeline.id}`),
      pipeline.status,
      escapeHtml(pipeline.ref),
      pipeline.sha.slice(0, 8),
      escapeHtml(pipeline.commitTitle),
    ]);

const pipelinePage = (context: PracticeContext, project: Project, pipeline: Pipeline): Answer => {
  const rows = context.state
    .jobsOf(pipeline.id)
    .map((job) => [
      link(`/${fullPath(project)}/-/jobs/${job.id}`, `#${job.id}`),
      escapeHtml(job.name),
      escapeHtml(job.stage),
      job.retried ? `${job.status}, retried` : job.status,
      escapeHtml(job.spec.tags.join(', ')),
      escapeHtml(context.state.manager(job.managerId ?? 0)?.systemId ?? ''),
    ]);
  const errors =
    pipeline.yamlErrors === null
      ? ''
      : `<p>This pipeline is empty: .gitlab-ci.yml of ${pipeline.sha.slice(0, 8)} is not valid.</p><pre>${escapeHtml(pipeline.yamlErrors)}</pre>`;
  const list = table(['Job', 'Name', 'Stage', 'Status', 'Tags', 'Runs on'], rows);
  return html(`Pipeline ${pipeline.id} of ${fullPath(project)}: ${pipeline.status}`, errors + list);
};

const jobPage = (context: PracticeContext, job: Job): Answer => {
  const length = traceLength(context.state, job);
  const shown = Buffer.alloc(Math.min(length, maxTraceShown));
  if (length > 0) {
    const file = openSync(context.state.tracePath(job.id), 'r');
    readSync(file, shown, 0, shown.length, length - shown.length);
    closeSync(file);
  }
  const why = job.failureReason === null ? '' : `<p>failure reason: ${escapeHtml(job.failureReason)}</p>`;
  return html(`Job ${job.id} ${job.name}: ${job.status}`, `${why}<pre>${escapeHtml(shown.toString('utf8'))}</pre>`);
};

const frontPage = (context: PracticeContext, caller: Caller | null, local: boolean): Answer => {
  const rows = [...context.state.projects()]
    .filter((project) => local || maySee(caller, project))
    .slice(0, maxShown)
    .map((project) => {
      const [newest] = pipelineRows(context, project);
      return [link(`/${fullPath(project)}`, fullPath(project)), newest?.[0] ?? '', newest?.[1] ?? ''];
    });
  return html('Projects', table(['Project', 'Newest pipeline', 'Status'], rows));
};

/** Browsers of this machine see all projects (as its files are theirs anyway); others need `?private_token=`. */
const content = (
  context: PracticeContext,
  call: Call,
  path: string,
  isLocal: (address: string) => boolean,
): Answer | null => {
  const caller = callerOf(context.state, call);
  const local = isLocal(call.remote);
  if (path === '/') return frontPage(context, caller, local);
  const found = /^\/([^/]+\/[^/]+?)(?:\/-\/(pipelines|jobs)(?:\/(\d{1,15}))?)?\/?$/.exec(path);
  const project = found === null ? undefined : context.state.projectByPath(found[1] as string);
  if (found === null || project === undefined || (!local && !maySee(caller, project))) return null;
  const id = Number(found[3] ?? 0);
  if (found[2] === 'jobs') {
    const job = context.state.job(id);
    return job?.projectId === project.id ? jobPage(context, job) : null;
  }
  if (found[2] === 'pipelines' && id > 0) {
    const pipeline = context.state.pipeline(id);
    return pipeline?.projectId === project.id ? pipelinePage(context, project, pipeline) : null;
  }
  const { noPipeline } = project;
  const none =
    noPipeline == null
      ? ''
      : `<p class="note">No pipeline for ${escapeHtml(noPipeline.ref)} at ${noPipeline.sha.slice(0, 8)}: ${escapeHtml(noPipeline.because)}</p>`;
  const clone = `<p>git clone ${escapeHtml(`${call.base}/${fullPath(project)}.git`)}</p>`;
  return html(
    fullPath(project),
    clone + none + table(['Pipeline', 'Status', 'Ref', 'Commit', 'Title'], pipelineRows(context, project)),
  );
};

export const pageRoutes = (context: PracticeContext, isLocal: (address: string) => boolean): Route[] => [
  route('GET', '/', (call) => content(context, call, '/', isLocal) as Answer, { kind: 'page' }),
  route('GET', '/help', () => html('Help', `<p>GitLab Community Edition ${practiceVersion} (${standInSentence})</p>`), {
    kind: 'page',
  }),
  route(
    'GET',
    '/users/sign_in',
    () => html('Sign in', '<p>There is nothing to sign in to: use the API with a token.</p>'),
    {
      kind: 'page',
    },
  ),
];

/** Project, pipeline and job pages; null for any other path. */
export const projectPage = (
  context: PracticeContext,
  call: Call & { path: string },
  isLocal: (address: string) => boolean,
): Answer | null => {
  if (call.method !== 'GET' || call.path.startsWith('/api/')) return null;
  return content(context, call, call.path, isLocal);
};
