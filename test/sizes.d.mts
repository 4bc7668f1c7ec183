export const limits: { file: number; class: number; function: number };
export function classSizes(text: string): { name: string; lines: number }[];
