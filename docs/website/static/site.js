// Show the open page in the sidebar, which may list many.
document.addEventListener("DOMContentLoaded", () => {
  const page = document.querySelector(".sidebar-tree .current-page");
  const box = document.querySelector(".sidebar-scroll");
  if (page && box) {
    box.scrollTop += page.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3;
  }
});
