import type { Notice } from '../../protocol/notices.ts';
import { known } from '../../scheduler/notices/severity.ts';
import { request, type Sender } from './notice-sender.ts';

const priorities = { info: 3, warn: 3, fail: 4 } as const;

/** Emojis by their names, as ntfy knows them. */
function tagOf({ state, severity }: Notice): string {
  if (state === 'fixed') return 'white_check_mark';
  if (state === 'test') return 'wave';
  return { fail: 'rotating_light', warn: 'warning', info: 'question' }[known(severity)];
}

const authorization = (secret: string): string =>
  secret.includes(':') ? `Basic ${Buffer.from(secret).toString('base64')}` : `Bearer ${secret}`;

/** As JSON, which ntfy takes at the address before the topic. */
export const sendNtfy: Sender = async (notice, way, { signal, linkOf }) => {
  if (notice === null) return;
  const url = new URL(way.url ?? '');
  const [, before = '', topic = ''] = /^(.*)\/([^/]+)$/.exec(url.pathname) ?? [];
  const link = notice.act && (await linkOf(notice.act));
  const body = JSON.stringify({
    topic,
    title: notice.title,
    message: notice.fix === null ? notice.text : `${notice.text}\n-> ${notice.fix}`,
    priority: priorities[known(notice.severity)],
    tags: [tagOf(notice)],
    ...(link && { actions: [{ action: 'http', label: link.label, url: link.url, method: 'POST', clear: true }] }),
  });
  url.pathname = before === '' ? '/' : before;
  await request(way, {
    url: url.href,
    body,
    headers: {
      'content-type': 'application/json',
      ...(way.secret !== undefined && { authorization: authorization(way.secret) }),
    },
    signal,
  });
};
