import type { Notice } from '../../protocol/notices.ts';
import { signing } from '../webhook/webhook-secrets.ts';
import { request, type Sender } from './notice-sender.ts';

/** `whsec_…` is base64, as Standard Webhooks has it; anything else is the key as it stands. */
const keyOf = (secret: string): Buffer => {
  const coded = /^whsec_([A-Za-z0-9+/]{16,}={0,2})$/.exec(secret)?.[1];
  return coded === undefined ? Buffer.from(secret) : Buffer.from(coded, 'base64');
};

/** What is posted. Fields may be added, none comes to mean something else. */
const webhookBody = (
  { id, incident, state, severity, at, title, text, fix, once = false }: Notice,
  mesh: { id: string; name: string },
  link: { label: string; url: string } | null,
): object => ({
  version: 1,
  ...{ id, incident, state, severity, once },
  at: new Date(at).toISOString(),
  ...{ mesh, title, text, fix },
  actions: link === null ? [] : [link],
});

/** JSON with the headers of Standard Webhooks; signed where a key was given. */
export const sendWebhook: Sender = async (notice, way, { mesh, signal, linkOf }) => {
  if (notice === null) return;
  const body = JSON.stringify(webhookBody(notice, mesh, notice.act && (await linkOf(notice.act))));
  const seconds = String(Math.floor(Date.now() / 1000));
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'webhook-id': notice.id,
    'webhook-timestamp': seconds,
  };
  if (way.secret !== undefined) {
    const mac = signing(keyOf(way.secret), notice.id, seconds).update(body).digest('base64');
    headers['webhook-signature'] = `v1,${mac}`;
  }
  await request(way, { body, headers, signal });
};
