import type { Answer, Call } from './api-call.ts';
import { badParameter } from './refusal.ts';

const number = (call: Call, name: string, standard: number, max: number): number => {
  const text = call.query.get(name);
  if (text === null || text === '') return standard;
  if (!/^\d{1,9}$/.test(text)) throw badParameter(`${name} is invalid`);
  return Math.min(max, Math.max(1, Number(text)));
};

/** One page of a list with GitLab's headers (`page`, `per_page` ≤ 100; default 20), newest first as given. */
export const page = <T>(call: Call, rows: readonly T[], shape: (row: T) => unknown): Answer => {
  const perPage = number(call, 'per_page', 20, 100);
  const at = number(call, 'page', 1, 1_000_000);
  const pages = Math.max(1, Math.ceil(rows.length / perPage));
  const shown = rows.slice((at - 1) * perPage, at * perPage);
  const link = (name: string, target: number): string => {
    const query = new URLSearchParams(call.query);
    query.delete('private_token');
    query.set('page', String(target));
    query.set('per_page', String(perPage));
    const path = (call.request.url ?? '').split('?')[0] as string;
    return `<${call.base}${path}?${query}>; rel="${name}"`;
  };
  const links = [
    ...(at > 1 ? [link('prev', at - 1)] : []),
    ...(at < pages ? [link('next', at + 1)] : []),
    link('first', 1),
    link('last', pages),
  ];
  return {
    status: 200,
    json: shown.map(shape),
    headers: {
      'X-Page': String(at),
      'X-Per-Page': String(perPage),
      'X-Total': String(rows.length),
      'X-Total-Pages': String(pages),
      'X-Next-Page': at < pages ? String(at + 1) : '',
      'X-Prev-Page': at > 1 ? String(at - 1) : '',
      Link: links.join(', '),
    },
  };
};
