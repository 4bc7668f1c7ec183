import { randomUUID } from 'node:crypto';
import { isIP } from 'node:net';
import { z } from 'zod';
import { admin, authenticate, changeable } from './access.ts';
import { type Call, created, empty, idOf, ok, type Route, read, route } from './api-call.ts';
import { page } from './paging.ts';
import { iso } from './practice-clock.ts';
import { artifactLimit, type PracticeContext } from './practice-context.ts';
import type { Hook, Project } from './records.ts';
import { notFound, refuseWith } from './refusal.ts';

const flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')]);
const hookBody = z.object({
  url: z.string().max(2048).optional(),
  token: z.string().max(255).nullish(),
  signing_token: z
    .string()
    .max(255)
    .regex(/^whsec_[A-Za-z0-9+/]+=*$/)
    .nullish(),
  job_events: flag.optional(),
  pipeline_events: flag.optional(),
});

/** An address of this machine or of a LAN: refused for project hooks unless the instance allows it. */
const isLocal = (host: string): boolean => {
  const name = host.replace(/^\[|\]$/g, '');
  if (name === 'localhost' || name.endsWith('.localhost') || name.endsWith('.local')) return true;
  if (isIP(name) === 6) return name === '::1' || /^f[cd]|^fe8/i.test(name);
  return /^(127\.|10\.|192\.168\.|169\.254\.|0\.|172\.(1[6-9]|2\d|3[01])\.)/.test(name);
};

const checkUrl = (context: PracticeContext, text: string): void => {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw refuseWith(422, { url: ['is invalid'] });
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw refuseWith(422, { url: ['is blocked: only http and https'] });
  const { allowLocalHooks, localHookPlaces: places = [] } = context.state.instance;
  const isAllowed = allowLocalHooks || places.includes(url.hostname) || places.includes(url.host);
  if (isLocal(url.hostname) && !isAllowed)
    throw refuseWith(422, {
      error: 'Invalid url given',
      url: ['is blocked: Requests to the local network are not allowed'],
    });
};

/** Whether it is switched off after failures, and until when; null: for good, or it is not. */
function offOf({ offUntil = 0 }: Hook, now: number): object {
  if (offUntil <= now) return { alert_status: 'executable', disabled_until: null };
  if (offUntil === Number.MAX_SAFE_INTEGER) return { alert_status: 'disabled', disabled_until: null };
  return { alert_status: 'temporarily_disabled', disabled_until: iso(offUntil) };
}

const shape = (hook: Hook, now: number): object => ({
  id: hook.id,
  url: hook.url,
  name: null,
  description: null,
  created_at: iso(hook.createdAt),
  push_events: false,
  tag_push_events: false,
  merge_requests_events: false,
  repository_update_events: false,
  enable_ssl_verification: true,
  ...offOf(hook, now),
  url_variables: [],
  project_id: hook.projectId,
  pipeline_events: hook.pipelineEvents,
  job_events: hook.jobEvents,
});

const apply = (context: PracticeContext, hook: Hook, body: z.infer<typeof hookBody>): void => {
  if (body.url !== undefined) {
    checkUrl(context, body.url);
    hook.url = body.url;
  }
  if (body.token !== undefined) hook.token = body.token;
  if (body.signing_token !== undefined) hook.signingToken = body.signing_token;
  if (body.job_events !== undefined) hook.jobEvents = body.job_events;
  if (body.pipeline_events !== undefined) hook.pipelineEvents = body.pipeline_events;
};

const settingsBody = z.object({
  allow_local_requests_from_web_hooks_and_services: flag.optional(),
  outbound_local_requests_whitelist: z.array(z.string().max(255)).max(1000).optional(),
  max_artifacts_size: z.coerce.number().int().min(1).max(1_048_576).optional(),
});

const settingsIn = (context: PracticeContext): object => {
  const { instance } = context.state;
  return {
    allow_local_requests_from_web_hooks_and_services: instance.allowLocalHooks,
    outbound_local_requests_whitelist: instance.localHookPlaces ?? [],
    max_artifacts_size: Math.ceil(artifactLimit(context) / 1_048_576),
    runner_jobs_request_api_limit: context.limits.jobRequests,
    runner_jobs_patch_trace_api_limit: context.limits.traces,
    runner_jobs_endpoints_api_limit: context.limits.jobUpdates,
  };
};

export const hookRoutes = (context: PracticeContext): Route[] => {
  const { state } = context;
  const changed = (call: Call): Project => changeable(state, call, authenticate(state, call));
  const hookOf = (call: Call): Hook => {
    const project = changed(call);
    for (const hook of state.hooks())
      if (hook.id === idOf(call, 'hook_id') && hook.projectId === project.id) return hook;
    throw notFound('Hook');
  };
  const shown = (hook: Hook): object => shape(hook, state.clock.now());
  const at = '/api/v4/projects/:id/hooks';
  return [
    route('GET', at, (call) => {
      const project = changed(call);
      return page(
        call,
        [...state.hooks()].filter((hook) => hook.projectId === project.id),
        shown,
      );
    }),
    route('POST', at, (call) => {
      const project = changed(call);
      const body = read(hookBody.extend({ url: z.string().max(2048) }), call.body);
      const hook: Hook = {
        id: 0,
        projectId: project.id,
        uuid: randomUUID(),
        url: body.url,
        token: null,
        signingToken: null,
        jobEvents: false,
        pipelineEvents: false,
        createdAt: state.clock.now(),
      };
      apply(context, hook, body);
      hook.id = state.newId('hook');
      state.saveHook(hook);
      return created(shown(hook));
    }),
    route('GET', `${at}/:hook_id`, (call) => ok(shown(hookOf(call)))),
    route('PUT', `${at}/:hook_id`, (call) => {
      const hook = hookOf(call);
      apply(context, hook, read(hookBody, call.body));
      state.saveHook(hook);
      return ok(shown(hook));
    }),
    route('DELETE', `${at}/:hook_id`, (call) => {
      state.dropHook(hookOf(call).id);
      return empty();
    }),
    route('GET', '/api/v4/application/settings', (call) => {
      admin(state, call);
      return ok(settingsIn(context));
    }),
    route('PUT', '/api/v4/application/settings', (call) => {
      admin(state, call);
      const body = read(settingsBody, call.body);
      const allow = body.allow_local_requests_from_web_hooks_and_services;
      if (allow !== undefined) state.saveInstance(Object.assign(state.instance, { allowLocalHooks: allow }));
      const places = body.outbound_local_requests_whitelist;
      if (places !== undefined) state.saveInstance(Object.assign(state.instance, { localHookPlaces: places }));
      const most = body.max_artifacts_size;
      if (most !== undefined) state.saveInstance(Object.assign(state.instance, { maxArtifactsMib: most }));
      return ok(settingsIn(context));
    }),
  ];
};
