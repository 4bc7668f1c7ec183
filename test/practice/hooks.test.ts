import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { api, practice, project, put, runner } from './rig.ts';

it('Job Hook: on pending, running and the end, signed as in 19.x; the LAN only when the instance allows it', async () => {
  // biome-ignore lint/suspicious/noExplicitAny: the body is looked into freely
  const heard: { headers: IncomingHttpHeaders; text: string; body: any }[] = [];
  let more = (): void => {};
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
    const text = Buffer.concat(parts).toString('utf8');
    heard.push({ headers: request.headers, text, body: JSON.parse(text) });
    response.end();
    more();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  try {
    const gitlab = await practice();
    const id = await project(gitlab, 'nothing: {script: x, tags: [none]}\n');
    const key = `whsec_${Buffer.from('a signing key').toString('base64')}`;
    const hook = { url, token: 'shared', signing_token: key, job_events: true };
    const refused = await api(gitlab, 'POST', `/projects/${id}/hooks`, hook);
    expect([refused.status, JSON.stringify(refused.json)]).toEqual([422, expect.stringContaining('local network')]);
    expect((await api(gitlab, 'POST', `/projects/${id}/hooks`, { url: 'file:///etc/passwd' })).status).toBe(422);
    await api(gitlab, 'PUT', '/application/settings', { allow_local_requests_from_web_hooks_and_services: true });
    const made = await api(gitlab, 'POST', `/projects/${id}/hooks`, hook);
    expect(made.status).toBe(201);
    expect(JSON.stringify(made.json)).not.toMatch(/shared|whsec/);
    const count = (wanted: number) =>
      new Promise<void>((resolve) => {
        more = () => {
          if (heard.length >= wanted) resolve();
        };
        more();
      });
    await api(gitlab, 'POST', `/projects/${id}/pipeline`, { ref: 'main' });
    await count(1);
    const taker = await runner(gitlab, { tag_list: 'none' });
    const first = await taker.take();
    await count(2);
    await put(gitlab, first, 'success');
    await count(3);
    expect(heard.map(({ body }) => body.build_status).sort()).toEqual(['pending', 'running', 'success']);
    const running = heard.find(({ body }) => body.build_status === 'running');
    expect(running?.body).toMatchObject({
      object_kind: 'build',
      build_name: 'nothing',
      project_id: id,
      ref: 'main',
      runner: { id: taker.id, tags: ['none'] },
    });
    const headers: IncomingHttpHeaders = running?.headers ?? {};
    const text = running?.text ?? '';
    expect(headers).toMatchObject({
      'x-gitlab-event': 'Job Hook',
      'x-gitlab-token': 'shared',
      'x-gitlab-instance': gitlab.url,
    });
    expect(headers['webhook-id']).toBe(headers['idempotency-key']);
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${text}`;
    expect(headers['webhook-signature']).toBe(
      `v1,${createHmac('sha256', 'a signing key').update(signed).digest('base64')}`,
    );
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
