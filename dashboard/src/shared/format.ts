/** Numbers, times and names in words that fit. */

const LANGUAGE = "en";
const whole = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 0 });

/** The beginning of a text, with an ellipsis where something is left out. */
export function short(text: string, length: number): string {
  const letters = [...text];
  return letters.length <= length ? text : `${letters.slice(0, length - 1).join("").trimEnd()}…`;
}

/** A count, with separators: 12,345. */
export function count(value: number): string {
  return whole.format(value);
}

/** A count with its noun: "1 label", "2 labels". */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A share as per cent, with a digit more below ten: 93 %, 4.2 %. */
export function share(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const percent = value * 100;
  const digits = percent !== 0 && Math.abs(percent) < 10 && !Number.isInteger(percent) ? 1 : 0;
  return `${percent.toFixed(digits)} %`;
}

/** A figure with three meaningful digits, in powers of ten where it is very large or small. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("e+", "e").replace(".0e", "e");
  return Number(value.toPrecision(3)).toLocaleString(LANGUAGE, { maximumFractionDigits: 6 });
}

/** A figure with exactly three meaningful digits, for columns of like ones: 11.0, 0.330. */
export function steady(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1000 || size < 1e-3)) return figure(value);
  return value.toLocaleString(LANGUAGE, { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
}

/** A length of time from seconds: 120 ms, 4.2 s, 3 min, 2 h 5 min, 3 d. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 0.9995) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} d`;
}

/** How long ago something was: "just now", "5 min ago". */
export function ago(at: string | Date | null | undefined, now: number = Date.now()): string {
  if (at === null || at === undefined) return "–";
  const seconds = (now - new Date(at).getTime()) / 1000;
  if (!Number.isFinite(seconds)) return "–";
  return seconds < 10 ? "just now" : `${duration(seconds)} ago`;
}

/** Bytes by powers of 1024: 1.5 GiB. */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  while (value >= 1024 && step < units.length - 1) {
    value /= 1024;
    step += 1;
  }
  return `${step === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[step]}`;
}
