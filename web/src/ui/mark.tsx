/** A sounding line below a wave. */
export function Mark() {
  return (
    <svg class="mark" width="22" height="22" viewBox="0 0 24 24" fill="none" stroke="currentColor" aria-hidden="true">
      <path d="M2.5 7.5c3.2-3.6 6.3-3.6 9.5 0s6.3 3.6 9.5 0" stroke-width="2.2" stroke-linecap="round" />
      <path d="M12 8v8" stroke-width="2.2" stroke-linecap="round" />
      <circle cx="12" cy="18.8" r="2.7" fill="currentColor" stroke="none" />
    </svg>
  );
}
